"""Errors that a user can cause: one clear sentence each, naming the value and the way out."""


class UserError(ValueError):
    """A mistake that the user can mend; its message is the one sentence that the command line prints."""
