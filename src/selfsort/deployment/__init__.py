"""A fitted model outside selfsort: as one graph from pixels to probabilities in a file, and over HTTP."""
