"""Networks: backbones, pre-trained ones and their weights, and their common base; no data, and no training loop."""
