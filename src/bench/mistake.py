"""A person's mistake. A module of its own, so that a command's --help need not import the nouns."""

from __future__ import annotations


class UserError(ValueError):
    """A person's mistake, worded for that person.

    The message is one sentence that names the file, row, column or key, says what was expected and what to do.
    Commands print it without a traceback and exit with 2.
    """
