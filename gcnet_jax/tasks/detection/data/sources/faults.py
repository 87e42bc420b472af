"""What is wrong with annotation files, gathered until all of it is known."""

from collections import Counter
from collections.abc import Sequence

from etils import epath

from gcnet_jax.errors import InputError, printable

_MOST_LISTED = 20  # of a kind


class AnnotationFaults(InputError):
    """Annotation files are not as expected, in all the places that are listed.

    Args:
        listed: a line for each fault, or for the first of a kind and then their number.
        number: of all faults.

    Attributes:
        listed: these lines.
    """

    def __init__(self, listed: Sequence[str], number: int):
        self.listed = tuple(printable(line) for line in listed)
        others = f" (and {number - 1} more faults)" if number > 1 else ""
        super().__init__(f"{self.listed[0]}{others}; nothing is written")


class Faults:
    """A list of what is wrong, of which a bounded number of each kind is kept."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}
        self._numbers: Counter[str] = Counter()

    @property
    def number(self) -> int:
        """How many there are."""
        return self._numbers.total()

    def add(self, path: epath.Path, kind: str, what: str) -> None:
        """Notes a fault.

        Args:
            path: of the annotation file.
            kind: what faults of this kind are called, in the plural.
            what: the place in the file, what is there and what was expected.
        """
        self._note(kind, f"{path}: {what}")

    def add_error(self, kind: str, error: InputError) -> None:
        """Notes an error that names its file itself."""
        self._note(kind, str(error))

    def add_all(self, others: "Faults") -> None:
        """Notes what others have noted."""
        for kind, lines in others._lines.items():
            for line in lines:
                self._note(kind, line)
            self._numbers[kind] += others._numbers[kind] - len(lines)

    def _note(self, kind: str, line: str) -> None:
        self._numbers[kind] += 1
        lines = self._lines.setdefault(kind, [])
        if len(lines) < _MOST_LISTED:
            lines.append(line)

    def raise_if_any(self) -> None:
        """Raises AnnotationFaults with all that has been noted."""
        if not self._numbers:
            return
        listed = []
        for kind, lines in self._lines.items():
            listed += lines
            if more := self._numbers[kind] - len(lines):
                listed.append(f"... and {more} more: {kind}")
        raise AnnotationFaults(listed, self._numbers.total())
