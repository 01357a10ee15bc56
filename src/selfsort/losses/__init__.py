"""What networks minimise: one module per loss, citing its paper; takes tensors, returns a scalar, never sees labels."""
