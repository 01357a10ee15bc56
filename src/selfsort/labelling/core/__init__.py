"""Groups, answers and names as plain functions of arrays and of what people said, without input, output or torch."""
