"""The local page: a service that several clients share, by subject; the web framework stays in `web` and `serve`."""
