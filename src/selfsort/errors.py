"""Errors that a user can cause: one clear sentence each, naming the value and the way out."""


class UserError(ValueError):
    """A mistake that the user can correct; its message is the one sentence that the command line prints.

    Where a page can show it, too, a `code` tells what is wrong and `values` with what: the page has its own words, in
    the language of whoever looks.
    """

    def __init__(self, *message: object, code: str = "", **values: str | int):
        super().__init__(*message)
        self.code, self.values = code, values
