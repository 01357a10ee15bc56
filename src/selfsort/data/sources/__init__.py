"""Where pictures come from: one module per kind of source, and the reading of pictures that they share."""
