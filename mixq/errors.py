"""The errors that end a command with one clear line instead of a traceback."""

from __future__ import annotations


class MixqError(Exception):
    """Base of the errors that the command line turns into one line and an exit status."""

    exit_status = 1


class UserError(MixqError):
    """What the user gave is at fault; the message names the thing and the way to mend it."""

    exit_status = 2


class CheckFailed(MixqError):
    """What was asked to be checked does not hold, e.g. a mismatch or a plan that does not fit."""

    exit_status = 1
