"""Features of a pre-trained network: computed once for each picture, kept and reused; no training, no clustering."""
