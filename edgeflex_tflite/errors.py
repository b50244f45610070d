"""The one error that a user is meant to read."""


class UserError(Exception):
    """Something that the user asked for cannot be done.

    The message is one line that says what was wrong, what is supported and what to do. Commands print it
    and exit with code 2, without a traceback; the Python API raises it.
    """
