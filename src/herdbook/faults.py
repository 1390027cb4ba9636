"""The base of the errors that an operator can mend. It imports nothing, so that the command line can name it at once."""


class OperatorFault(Exception):
    """An error that an operator can mend. The message gives the reason and the remedy, and needs no traceback."""
