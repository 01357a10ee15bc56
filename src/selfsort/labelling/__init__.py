"""Naming groups of pictures: the session, its store, the page, and learning from the answers; no training methods."""
