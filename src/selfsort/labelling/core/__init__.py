"""Groups, answers and names: no input or output, and no torch."""
