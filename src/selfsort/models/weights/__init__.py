"""Pre-trained weights: from a hub, a package or a file, checked by hash, and how a run keeps frozen ones."""
