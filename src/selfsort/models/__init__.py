"""Networks: backbones, pre-trained ones and their weights, and the base they share; no data, and no training loop."""
