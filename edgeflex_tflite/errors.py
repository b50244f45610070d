"""The errors that a user is meant to read."""


class UserError(Exception):
    """Something that the user asked for cannot be done.

    The message is one line that says what was wrong, what is supported and what to do. Commands print it
    and exit with code 2, without a traceback; the Python API raises it.
    """


class VerificationError(Exception):
    """The written file is not what it should be: it failed a check, and nothing of it is kept.

    Commands print the message and exit with code 3.
    """
