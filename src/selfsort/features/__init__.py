"""Features from a pre-trained network: computed once per picture, kept and reused; no training, no clustering."""
