"""Standard output, whose reader may go away before the run does."""

import os
import sys
from collections.abc import Callable


class Output:
    """What rich and `print` take for standard output.

    In place of an error when nobody reads it any more (`train | head -1`, a terminal that was
    closed), it says so once, and nothing is shown from there on.

    Args:
        unread: called then.
    """

    def __init__(self, unread: Callable[[], None]):
        self._unread = unread
        self._stream = sys.stdout  # in whose place rich puts itself while it shows progress

    @property
    def encoding(self) -> str:
        """How text is encoded."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream is not None and self._stream.isatty()

    def write(self, text: str) -> int:
        """Shows text; characters that the terminal has no code for are escaped."""
        shown = text.encode(self.encoding, "backslashreplace").decode(self.encoding)
        self._unless_unread(lambda: self._stream.write(shown))
        return len(text)

    def flush(self) -> None:
        """Sends what was written."""
        self._unless_unread(lambda: self._stream.flush())

    def _unless_unread(self, action: Callable[[], object]) -> None:
        if self._stream is None:  # closed before the program began
            return
        try:
            action()
        except OSError:  # a broken pipe, or a terminal that has gone
            # What is still to be sent goes nowhere, or it would fail again when the program ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            self._unread()
