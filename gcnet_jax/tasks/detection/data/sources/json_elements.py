"""Reading the arrays of a JSON object element by element, of files larger than the memory.

Numbers that are none, `NaN` and `Infinity`, are read as Python writes them, so that whoever is
handed an element can say where they are.
"""

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

from etils import epath

from gcnet_jax.errors import InputError
from gcnet_jax.files import open_regular

_CHUNK = 1 << 20  # characters
_LOOKAHEAD = 32  # characters from its end in which a chunk may have cut a word or a number
_SPACES = " \t\n\r"

Handle = Callable[[Any], None]


def read_elements(
    path: epath.Path,
    handlers: Mapping[str, Handle],
    advance: Callable[[int], None] = lambda characters: None,
) -> None:
    """Hands over each element of some arrays of a JSON object, in the order of the file.

    Args:
        path: of the file.
        handlers: by the key of an array, what to call with each of its elements.
        advance: called with the number of characters that have been read since.

    Raises:
        InputError: if the file cannot be read, is no JSON object, or one of the keys is missing or
            has no array; the message names the file and the place.
    """
    try:
        with open_regular(path) as file:
            text = _Text(io.TextIOWrapper(file, "utf-8-sig"), advance)
            missing = handlers.keys() - _walk(text, handlers)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from error
    except RecursionError as error:
        raise InputError(f"{path} is no JSON of annotations: it is nested too deep") from error
    except (_NoArray, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path} is no JSON of annotations: {error}") from error
    if missing:
        named = " and ".join(repr(key) for key in sorted(missing))
        raise InputError(f"{path} has no {named}; expected an array of each")


class _NoArray(Exception):
    """What should be an array is something else."""


class _Text:
    """Text that is read while it is decoded; what has been decoded is dropped."""

    def __init__(self, file: io.TextIOWrapper, advance: Callable[[int], None]):
        self._file = file
        self._advance = advance
        self._decoder = json.JSONDecoder()
        self._text, self._at = "", 0
        self._before = 0  # characters that have been dropped
        self._ended = False

    def symbol(self) -> str:
        """Returns the next character that is no space, which stays; nothing at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACES:
                self._at += 1
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._read()

    def take(self, expected: str) -> str:
        """Returns the next symbol, which is one of those expected, and passes it.

        Raises:
            ValueError: it is another.
        """
        symbol = self.symbol()
        if symbol == "" or symbol not in expected:
            found = repr(symbol) if symbol else "the end"
            raise ValueError(
                f"found {found} at character {self._before + self._at}, expected "
                f"{' or '.join(expected)}"
            )
        self._at += 1
        return symbol

    def value(self) -> Any:
        """Returns the value that comes next, and passes it.

        Raises:
            ValueError: there is none.
        """
        self.symbol()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                is_cut = "Unterminated string" in error.msg
                is_cut |= error.pos > len(self._text) - _LOOKAHEAD
                if self._ended or not is_cut:
                    place = self._before + error.pos
                    raise ValueError(f"{error.msg} at character {place}") from error
            else:
                # A number may go on: of "1.5e3" a chunk may have "1", "1." or "1.5e" at its end.
                if self._ended or end <= len(self._text) - _LOOKAHEAD:
                    self._at = end
                    return value
            self._read()

    def _read(self) -> None:
        # As much again as there is: the beginning of a long value is decoded anew each time.
        chunk = self._file.read(max(_CHUNK, len(self._text) - self._at))
        self._advance(len(chunk))
        self._ended = not chunk
        self._before += self._at
        self._text, self._at = self._text[self._at :] + chunk, 0


def _walk(text: _Text, handlers: Mapping[str, Handle]) -> set[str]:
    """Calls the handlers, and returns the keys of the object."""
    keys: set[str] = set()
    text.take("{")
    while text.symbol() != "}":
        if keys:
            text.take(",")
        if text.symbol() != '"':
            text.take('"')
        key = text.value()
        text.take(":")
        keys.add(key)
        handle = handlers.get(key)
        if text.symbol() == "[":
            _walk_array(text, handle)
        elif handle is not None:
            raise _NoArray(f"{key!r} is {str(text.value())[:40]!r}, expected an array")
        else:
            text.value()
    text.take("}")
    if text.symbol():
        raise ValueError("something comes behind the end of the object")
    return keys


def _walk_array(text: _Text, handle: Handle | None) -> None:
    text.take("[")
    if text.symbol() != "]":
        while True:
            element = text.value()
            if handle is not None:
                handle(element)
            if text.take(",]") == "]":
                return
    text.take("]")
