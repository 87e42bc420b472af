"""Finding the parts of an official release in a source folder, unpacked or as archives."""

from collections.abc import Iterator, Sequence

from etils import epath
from rich.console import Console

from gcnet_jax.data.examples import Part
from gcnet_jax.data.preparation_lock import only_process
from gcnet_jax.data.unpacking import unpack
from gcnet_jax.errors import InputError


def locate(parts: Sequence[Part], source: epath.Path, unpack_dir: epath.Path) -> list[epath.Path]:
    """Returns the folder in which each part's folders lie, unpacking archives if need be.

    It is the source for parts whose archives are read in place, and for optional ones that are not
    there.

    Args:
        parts: what to find; nothing is unpacked unless all are there.
        source: the folder that should hold the part or its archive.
        unpack_dir: folder for unpacked archives; what has been unpacked there is not again.

    Raises:
        InputError: if the source holds neither of one (the message names the folder above or below
          that does, if one does), or an archive is not whole, holds something else or cannot be
          unpacked; nothing of it is left then.
    """
    archives = [_archive(part, source) for part in parts]
    return [
        source if archive is None or part.in_place else _unpack(archive, part, unpack_dir)
        for part, archive in zip(parts, archives, strict=True)
    ]


def _archive(part: Part, source: epath.Path) -> epath.Path | None:
    """Returns the archive of a part; None if the source holds its folders, or need not hold it."""
    if any((source / folder).is_dir() for folder in part.folders):
        return None
    if part.archive is not None and (source / part.archive).exists():
        return source / part.archive
    if part.optional:
        return None
    message = f"{source} does not hold {part}"
    for folder in _neighbours(source):
        if _holds(folder, part):
            raise InputError(f"{message}; {folder} does: give that as the source")
    raise InputError(message)


def _unpack(archive: epath.Path, part: Part, unpack_dir: epath.Path) -> epath.Path:
    # With its size: what an incomplete archive has left is not to be taken for the whole one.
    target = unpack_dir / f"{archive.stem}-{archive.stat().length}"
    console = Console(stderr=True, soft_wrap=True)
    unpack_dir.mkdir(parents=True, exist_ok=True)
    with only_process(unpack_dir, console):
        if target.exists():
            console.print(f"Taking {archive.name} as unpacked in {target}", highlight=False)
            return target
        partial = target.with_name(f"{target.name}.partial")
        if partial.exists():
            partial.rmtree()
        partial.mkdir()
        try:
            unpack(archive, partial, console)
            if not _holds_folders(partial, part):
                raise InputError(
                    f"{archive} does not hold {' '.join(part.folders)}; is it another file?"
                )
        except BaseException:
            partial.rmtree()
            raise
        partial.rename(target)
    return target


def _neighbours(source: epath.Path) -> Iterator[epath.Path]:
    """Yields folders up to two levels above and below, the nearest first."""
    source = source.resolve()  # ".." has folders above it too
    above, below = list(source.parents), _folders_in(source)
    yield from above[:1]
    yield from below
    yield from above[1:2]
    for folder in below:
        yield from _folders_in(folder)


def _folders_in(folder: epath.Path) -> list[epath.Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _holds(folder: epath.Path, part: Part) -> bool:
    is_archived = part.archive is not None and (folder / part.archive).exists()
    return is_archived or _holds_folders(folder, part)


def _holds_folders(folder: epath.Path, part: Part) -> bool:
    return all((folder / name).is_dir() for name in part.folders)
