"""The exceptions that commands turn into one line and an exit status, and what may be in a line."""

import difflib
import re
from collections.abc import Iterable

# Control characters, which terminals obey; marks that reorder a line; ends of lines; and what
# stands for the bytes of a file name that is not UTF-8, which no terminal takes.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    """Text that a terminal shows as it is, on one line.

    Names of files, of classes and of arrays come from files, and can hold characters that a
    terminal obeys. They come out as escapes, such as `\\x1b`.
    """
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)


class InputError(ValueError):
    """Something given to the library is wrong: a file, a config, a shape, a checkpoint.

    The message names the thing at fault and what was expected of it. Commands print it as a single
    line and exit with status 1; anything else that is raised is a bug and keeps its traceback.
    Whatever the message quotes, it is printable.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class UsageError(InputError):
    """A command line, or a call, lacks something, or has something that is not taken.

    Whatever files and data there are, it cannot be right. Commands exit with status 2.
    """


class Preempted(Exception):
    """The machine is about to be taken away, and what was done is saved.

    Commands exit with a status of its own, by which a scheduler tells this from failure.
    """


class Interrupted(Preempted):
    """Somebody at the terminal has asked to stop, and what was done is saved."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message on a name that is not known: ` (did you mean 'camvid'?)`.

    Args:
        name: as it was given.
        known: those that there are.

    Returns:
        Nothing where none of them resembles the name.
    """
    by_lower_case = {other.lower(): other for other in known}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
    return f" (did you mean {by_lower_case[close[0]]!r}?)" if close else ""
