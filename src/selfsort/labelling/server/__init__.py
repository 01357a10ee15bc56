"""The local page: a service for several clients, one file per subject; only `web` and `serve` use the web framework."""
