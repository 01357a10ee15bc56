"""Weights converted to safetensors; needs no torch."""

from selfsort.data.cache import KeptFiles

WEIGHTS = KeptFiles("weights-1", ".safetensors")  # increase the number whenever weights are kept differently
