"""Finding files by patterns, and what to call them.

A pattern is a path with `*` for any part of a file or folder name, such as `scans/*/*_rgb.jpg`. A
star at the end matches the suffix too, which is then no part of the text that it matched: by
`scans/*` the text of `scans/7.jpg` is `7`.
"""

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from etils import epath

from gcnet_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Patterns:
    """Patterns for the files of one kind, below one folder."""

    root: epath.Path
    patterns: Sequence[str]

    def __str__(self) -> str:
        return " or ".join(f"{self.root}/{pattern}" for pattern in self.patterns)

    def find(self) -> dict[tuple[str, ...], epath.Path]:
        """Returns the files by the texts that the stars matched, in the order of their paths.

        Raises:
            InputError: if a folder that the patterns name is missing, or two files have the same
              texts.
        """
        matches = [
            (path, texts) for pattern in self.patterns for texts, path in _match(self.root, pattern)
        ]
        files: dict[tuple[str, ...], epath.Path] = {}
        for path, texts in sorted(matches, key=lambda match: str(match[0])):
            if texts in files:
                raise InputError(
                    f"{files[texts]} and {path.name} share a name; expected one file for every name"
                )
            files[texts] = path
        return files

    def example(self, texts: tuple[str, ...]) -> str:
        """Returns the path that the first pattern has for these texts."""
        remaining = iter(texts)
        path = re.sub(r"\*", lambda _: next(remaining), self.patterns[0], count=len(texts))
        return f"{self.root}/{path}" + (".*" if self.patterns[0].endswith("*") else "")


def names_of(files: Mapping[tuple[str, ...], epath.Path]) -> list[str]:
    """Returns a name for each of the files that `Patterns.find` has found.

    A file is named by its name without suffix, or where these are not unique, by all that the stars
    matched; what is not UTF-8 in it is written as `\\xff`.

    Raises:
        InputError: if a name is there twice.
    """
    stems = [_in_utf8(path.stem) for path in files.values()]
    if len(set(stems)) == len(stems):
        return stems
    names = [_in_utf8("_".join(texts)) for texts in files]
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise InputError(f"{count} images would both be called '{name}'; rename one of the files")
    return names


def _in_utf8(name: str) -> str:
    """Returns a file's name as it can be stored: on disks names are bytes, of any encoding."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _match(folder: epath.Path, pattern: str) -> Iterator[tuple[tuple[str, ...], epath.Path]]:
    """Finds what matches a pattern below a folder, with the texts that its stars matched."""
    first, _, rest = pattern.partition("/")
    if "*" not in first:
        if rest:
            if not (folder / first).is_dir():
                raise InputError(f"{folder / first} is missing; expected files {rest} in it")
            yield from _match(folder / first, rest)
        elif (folder / first).exists():
            yield (), folder / first
        return
    # Everything but the stars stands for itself, unlike in shells.
    regex = re.compile("(.*)".join(map(re.escape, first.split("*"))), re.DOTALL)
    for path in folder.iterdir():
        matched = regex.fullmatch(path.name)
        if matched is None or path.name.startswith("."):
            continue
        if not rest:
            *texts, last = matched.groups()
            yield (*texts, Path(last).stem if first.endswith("*") else last), path
        elif path.is_dir():
            for texts, file in _match(path, rest):
                yield matched.groups() + texts, file
