"""Features of pictures: what a pre-trained network gives for each, computed once, kept, and reused."""
