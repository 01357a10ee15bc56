"""What networks minimise; each cites its paper."""
