"""Image sets: where pictures come from and how they are decoded; labels stay apart, no torch."""
