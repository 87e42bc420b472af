"""Preparing a data set once, and opening the splits of a prepared one.

A new data set is one builder class, one line in ``BUILDERS`` and its classes in the catalog.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import tensorflow_datasets as tfds
from etils import epath

from gcnet_jax.data.camvid import CamVid
from gcnet_jax.data.context_shapes import ContextShapes
from gcnet_jax.data.records import Record
from gcnet_jax.errors import InputError

BUILDERS: Mapping[str, type[tfds.core.GeneratorBasedBuilder]] = MappingProxyType(
    {
        "camvid": CamVid,
        "context_shapes": ContextShapes,
    }
)


def prepare(
    name: str, data_dir: epath.PathLike, source: epath.PathLike | None = None
) -> epath.Path:
    """Writes a data set as ``array_record`` files that every later run reads.

    A data set that is already there is left as it is. Files are written beside their final place
    and moved there at the end, so that an interrupted preparation is never taken for a whole one.

    Args:
        name: the data set, a key of ``BUILDERS``.
        data_dir: folder for all prepared data sets; a bucket path such as ``gs://...`` works too.
        source: folder with the original files. Required by data sets that are not generated or
          downloaded, refused by the others.

    Returns:
        The folder of this data set.

    Raises:
        InputError: if the name is unknown, ``source`` is missing or not wanted, or a file of it is
          not as expected (see the builder).
    """
    builder = _builder(name, data_dir)
    _check_source(builder, source)
    if _is_prepared(builder):
        return builder.data_path
    if builder.data_path.exists():
        raise InputError(
            f"{builder.data_path} exists but holds no whole data set; {_prepare_again(builder)}"
        )
    # Nothing here is downloaded, but TFDS insists on a folder for downloads, and talks of them.
    tfds.disable_progress_bar()
    with (
        tempfile.TemporaryDirectory() as download_dir,
        contextlib.redirect_stdout(io.StringIO()),
    ):
        builder.download_and_prepare(
            download_dir=download_dir,
            download_config=tfds.download.DownloadConfig(manual_dir=source, try_download_gcs=False),
            file_format="array_record",
        )
    return builder.data_path


def open_split(name: str, data_dir: epath.PathLike, split: str) -> "Split":
    """Opens one split for random access.

    Args:
        name: the data set, a key of ``BUILDERS``.
        data_dir: the folder it was prepared in.
        split: one of its splits, such as ``train``.

    Returns:
        The still encoded records; ``gcnet_jax.data.decode`` turns one into arrays.

    Raises:
        InputError: if the name or the split is unknown, or the set is not prepared (the message
          gives the command that prepares it), or files of it are missing.
    """
    builder = _prepared_builder(name, data_dir)
    if split not in builder.info.splits:
        raise InputError(
            f"data set '{name}' has no split '{split}'; "
            f"its splits are {', '.join(builder.info.splits)}"
        )
    files = [epath.Path(path) for path in builder.info.splits[split].filepaths]
    for file in files:
        if not file.exists():
            raise InputError(f"{file} is missing; {_prepare_again(builder)}")
    still_encoded = tfds.decode.SkipDecoding()
    source = builder.as_data_source(
        split,  # pyright: ignore[reportCallIssue] TFDS decorates the signature away
        decoders={"image": still_encoded, "label": still_encoded},
    )
    return Split(source, f"{', '.join(map(str, files))}; {_prepare_again(builder)}")


class Split:
    """The records of one split, read when indexed. Pickles to a few kilobytes."""

    def __init__(self, source: Sequence[Record], advice: str):
        self._source = source
        self._advice = advice

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[Record]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Record:
        """Reads one record.

        Raises:
            IndexError: if there is no such record.
            InputError: if the file it is in has been damaged.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of a split of {len(self)}")
        try:
            return self._source[index]
        except RuntimeError as error:  # which is how array_record reports a checksum mismatch
            raise InputError(
                f"record {index} cannot be read ({error}) from {self._advice}"
            ) from error


def split_names(name: str, data_dir: epath.PathLike) -> tuple[str, ...]:
    """Returns the splits of a prepared data set; raises as :func:`open_split` does."""
    return tuple(_prepared_builder(name, data_dir).info.splits)


def split_size(name: str, data_dir: epath.PathLike, split: str) -> int:
    """Returns the number of images in a split; raises as :func:`open_split` does."""
    return len(open_split(name, data_dir, split))


def _builder(name: str, data_dir: epath.PathLike) -> tfds.core.GeneratorBasedBuilder:
    if name not in BUILDERS:
        raise InputError(
            f"there is no data set '{name}' to prepare or read; there are: {', '.join(BUILDERS)}"
        )
    return BUILDERS[name](data_dir=epath.Path(data_dir).expanduser())


def _prepared_builder(name: str, data_dir: epath.PathLike) -> tfds.core.GeneratorBasedBuilder:
    builder = _builder(name, data_dir)
    if not _is_prepared(builder):
        source = " --source FOLDER" if builder.MANUAL_DOWNLOAD_INSTRUCTIONS else ""
        raise InputError(
            f"data set '{name}' is not prepared in {data_dir}; prepare it with: "
            f"python scripts/prepare_dataset.py {name}{source} --data_dir {data_dir}"
        )
    return builder


def _prepare_again(builder: tfds.core.GeneratorBasedBuilder) -> str:
    return f"delete {builder.data_path} and prepare '{builder.name}' again"


def _is_prepared(builder: tfds.core.GeneratorBasedBuilder) -> bool:
    # TFDS warns of a folder that is not there at all, which is the usual case before preparing.
    return builder.data_path.exists() and builder.is_prepared()


def _check_source(builder: tfds.core.GeneratorBasedBuilder, source: epath.PathLike | None) -> None:
    expected = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    if expected is None:
        if source is not None:
            raise InputError(
                f"data set '{builder.name}' is generated and takes no source, but got {source}"
            )
    elif source is None:
        raise InputError(f"data set '{builder.name}' needs a source: {expected}")
    elif not epath.Path(source).expanduser().is_dir():
        raise InputError(f"source {source} is not a folder; expected {expected}")
