"""The images and videos that a user means by files, patterns and folders, and what their results
may be called beside them.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from etils import epath

from gcnet_jax.errors import InputError, UsageError, printable
from gcnet_jax.files import as_path, in_bucket

SUFFIXES = (
    *(".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png"),
    *(".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
"""Endings of the files that are taken from folders, in lower case."""
VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm")
"""Endings of the files that are taken for videos, in lower case."""


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """One image file, or a video.

    Attributes:
        path: of the file.
        name: of its results: the file's without suffix, unless another has the same; with folders
            where those are mirrored.
    """

    path: epath.Path
    name: str

    @property
    def is_video(self) -> bool:
        """Whether it is a video by its name."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def expand_patterns(given: Sequence[str]) -> list[str]:
    """The names that were given, with the files in place of a pattern that no shell has expanded.

    Args:
        given: names. A local one with `*`, `?` or `[` is a pattern where there is nothing of that
            very name; `**` stands for folders of any depth.

    Raises:
        InputError: a pattern matches nothing.
    """
    return [found for name in given for found in _matching(name)]


def find_images(given: Sequence[str], *, recursive: bool) -> list[ImageSource]:
    """Finds the images and videos among what was given, in order; prints what folders hold beside.

    Args:
        given: files, whatever they are called; and folders, of which files with the suffix of an
            image or a video are taken. Hidden files are not, such as the `._x.jpg` that macOS
            leaves.
        recursive: whether to look into subfolders; names of results then begin with them.

    Raises:
        UsageError: nothing is given.
        InputError: there is nothing of a name, nothing to take in a folder, or two of one name.
    """
    if not given:
        raise UsageError("no images given; name files or folders with --images or at the end")
    found = [source for name in given for source in _sources_of(as_path(name), recursive)]
    counts = Counter(source.name for source in found)
    found = [
        dataclasses.replace(source, name=f"{source.name}{source.path.suffix}")
        if counts[source.name] > 1
        else source
        for source in found
    ]
    seen: dict[str, epath.Path] = {}
    for source in found:
        if other := seen.get(source.name):
            raise InputError(
                f"{other} and {source.path} would have results of the same name; predict them into "
                "folders of their own, or with --recursive from the folder that holds both"
            )
        seen[source.name] = source.path
    return found


def check_targets(
    given: Sequence[str],
    sources: Sequence[ImageSource],
    output_dir: epath.Path,
    suffixes: Sequence[str],
    *,
    recursive: bool,
    overwrite: bool,
) -> None:
    """Raises InputError where results would be taken for images, or replace what is there.

    Args:
        given: as for `find_images`.
        sources: what it has found.
        output_dir: folder of the results.
        suffixes: of the results of one image, behind its name.
        recursive: as for `find_images`.
        overwrite: whether earlier results may be replaced.
    """
    target = output_dir.resolve()
    for folder in (as_path(name).resolve() for name in given if as_path(name).is_dir()):
        if target == folder or (recursive and folder in target.parents):
            raise InputError(
                f"--output_dir: {output_dir} lies in a folder of images, where the next start "
                "would take results for images; expected another folder"
            )
    images = {source.path.resolve() for source in sources}
    for source in sources:
        for suffix in suffixes:
            file = output_dir / f"{source.name}{suffix}"
            if file.resolve() in images:
                raise InputError(f"{file} is one of the images; expected another --output_dir")
            if file.exists() and not overwrite:
                raise InputError(
                    f"{file} is there already; give another --output_dir, or --overwrite to "
                    "replace earlier results"
                )


def _matching(name: str) -> list[str]:
    if in_bucket(name) or as_path(name).exists():
        return [name]
    path = Path(name)
    root = next(parent for parent in path.parents if parent.exists())  # whatever characters it has
    pattern = path.relative_to(root)
    if not set("*?[") & set(str(pattern)):
        return [name]
    try:
        found = sorted(root.glob(str(pattern)))
    except ValueError as error:
        raise InputError(f"there is no image {name}, and it is no pattern ({error})") from error
    if not _is_hidden(pattern):  # as in shells
        found = [file for file in found if not _is_hidden(file.relative_to(root))]
    if not found:
        raise InputError(f"there is no image {name}, and as a pattern it matches no file")
    return list(map(str, found))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") and part != ".." for part in path.parts)


def _sources_of(path: epath.Path, recursive: bool) -> Iterator[ImageSource]:
    if path.is_dir():
        yield from _sources_in(path, recursive)
    elif path.exists():
        yield ImageSource(path, path.stem)
    else:
        raise InputError(f"there is no image {path}")


def _sources_in(folder: epath.Path, recursive: bool) -> Iterator[ImageSource]:
    entries = sorted(_below(folder) if recursive else folder.iterdir())
    files = [entry for entry in entries if not entry.is_dir() and not entry.name.startswith(".")]
    taken = (*SUFFIXES, *VIDEO_SUFFIXES)
    images = [file for file in files if file.suffix.lower() in taken]
    subfolders = 0 if recursive else sum(entry.is_dir() for entry in entries)
    others = Counter(file.suffix for file in files if file.suffix.lower() not in taken)
    left_out = [f"{count} {suffix or 'without suffix'}" for suffix, count in others.items()]
    if left_out:
        left_out = [f"files that are no images or videos ({', '.join(left_out)})"]
    if subfolders:
        left_out.append(f"{subfolders} subfolder(s), which --recursive looks into")
    if not images:
        rest = f"; there are {' and '.join(left_out)}" if left_out else ""
        raise InputError(
            f"there are no images or videos ({', '.join(taken)}) in the folder {folder}{rest}"
        )
    if left_out:
        print(printable(f"left out of {folder}: {' and '.join(left_out)}"))
    for image in images:
        relative = image.relative_to(folder)
        yield ImageSource(image, str(relative.with_suffix("")) if recursive else image.stem)


def _below(folder: epath.Path) -> Iterator[epath.Path]:
    """All files and folders in a folder and its subfolders, whatever patterns their names are."""
    for entry in folder.iterdir():
        yield entry
        if entry.is_dir():
            yield from _below(entry)
