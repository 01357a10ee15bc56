"""The local page on which groups are named."""
