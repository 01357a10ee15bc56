"""Groups, answers and names, as plain functions of arrays and what a person said: no input or output, and no torch."""
