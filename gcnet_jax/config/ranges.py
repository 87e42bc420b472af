"""Kinds of ranges that a value of a config lies in: each has a test, and its words for messages."""

import dataclasses
import re
from typing import Any, Protocol

LARGEST_WHOLE = 2**31 - 1
"""Steps, seeds and sizes are 32-bit integers on the device."""
LARGEST_NUMBER = 3.4028234663852886e38
"""The largest that float32 holds."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_LONGEST_SHOWN = 100  # characters of a value in a message


class Range(Protocol):
    """What a value may be; as a string, the words for it behind "expected"."""

    def holds(self, value: Any) -> bool:
        """Whether the value, of whatever type, may be taken."""
        ...


@dataclasses.dataclass(frozen=True)
class Whole:
    """Whole numbers from `least` to `most`, both included."""

    least: int
    most: int = LARGEST_WHOLE

    def holds(self, value: Any) -> bool:
        """Returns whether a value lies in this range."""
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return is_whole and self.least <= value <= self.most

    def __str__(self) -> str:
        return f"{self.least} or more, a whole number up to {self.most}"


@dataclasses.dataclass(frozen=True)
class Number:
    """Finite numbers from `least` to `most`, without those that are `excluded`; never NaN.

    A whole number may stand for a fraction.
    """

    least: float
    most: float = LARGEST_NUMBER
    excluded: tuple[float, ...] = ()

    def holds(self, value: Any) -> bool:
        """Returns whether a value lies in this range."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and self.least <= value <= self.most and value not in self.excluded

    def __str__(self) -> str:
        words = f"a number from {self.least} to {self.most}"
        if self.most == LARGEST_NUMBER:
            words = f"a number, {self.least} or more and finite"
        return words + "".join(f", but not {value}" for value in self.excluded)


class OneOf:
    """One of a few values, of the same type."""

    def __init__(self, *allowed: Any):
        self.allowed = allowed

    def holds(self, value: Any) -> bool:
        """Returns whether a value lies in this range."""
        return any(type(value) is type(one) and value == one for one in self.allowed)

    def __str__(self) -> str:
        *others, last = map(repr, self.allowed)
        return f"{', '.join(others)} or {last}"


@dataclasses.dataclass(frozen=True)
class Flag:
    """True or false."""

    def holds(self, value: Any) -> bool:
        """Returns whether a value lies in this range."""
        return isinstance(value, bool)

    def __str__(self) -> str:
        return "true or false"


@dataclasses.dataclass(frozen=True)
class Text:
    """Text without control characters, for it is printed and written into names of files.

    Attributes:
        pattern: what all of it matches, if anything in particular.
        words: for messages.
    """

    pattern: str = r"[\s\S]*"
    words: str = "text without control characters"

    def holds(self, value: Any) -> bool:
        """Returns whether a value lies in this range."""
        if not isinstance(value, str) or _CONTROL.search(value):
            return False
        return re.fullmatch(self.pattern, value) is not None

    def __str__(self) -> str:
        return self.words


class NamedOrCode:
    """One of the library's own by its name, `MODULE:CLASS` for one of a user's own, or '' for none.

    Whoever takes a value of this range from a file that is not the user's own must see to it that
    no module is imported because the file says so.
    """

    def __init__(self, *names: str):
        self.names = names

    def holds(self, value: Any) -> bool:
        """Returns whether a value lies in this range."""
        if not isinstance(value, str) or _CONTROL.search(value):
            return False
        return value in ("", *self.names) or re.fullmatch(r"[^\s:]+:\w+", value) is not None

    def is_code(self, value: str) -> bool:
        """Whether a value of this range names code of a user's own."""
        return value not in ("", *self.names)

    def __str__(self) -> str:
        return f"one of {', '.join(self.names)}, MODULE:CLASS for one of your own, or '' for none"


@dataclasses.dataclass(frozen=True)
class Several:
    """A tuple whose elements each lie in a range.

    Attributes:
        of: the range.
        least: how many there are at least.
        most: and at most.
    """

    of: Range
    least: int = 0
    most: int = 100

    def holds(self, value: Any) -> bool:
        """Returns whether a value lies in this range."""
        if not isinstance(value, tuple) or not self.least <= len(value) <= self.most:
            return False
        return all(self.of.holds(element) for element in value)

    def __str__(self) -> str:
        count = f"{self.least} to {self.most}" if self.most > self.least else self.least
        return f"{count} numbers, each {self.of}"


def pair(of: Range) -> Several:
    """The range of a tuple of two."""
    return Several(of, 2, 2)


def shown(value: Any) -> str:
    """A value as messages show it: on one line, and not longer than that is useful."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # of more digits, or deeper, than Python writes out
        text = f"too large to show ({type(value).__name__})"
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
