"""The error for what a user can mend."""


class BadInput(ValueError):
    """Something the user gave is wrong.

    The message is one line that names the file and the field, and says what would be right.
    The command line prints it and exits with code 2.
    """


class NoStore(BadInput):
    """There is no hopscreen store where one was asked for."""
