"""Weights that were converted to safetensors; needs no torch."""

from selfsort.data.cache import KeptFiles

WEIGHTS = KeptFiles("weights-1", ".safetensors")  # the number to be raised whenever weights come to be kept differently
