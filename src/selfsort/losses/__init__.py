"""What networks minimise: one module for each loss, its paper cited; tensors come in, a scalar goes out, no labels."""
