"""Prepares a data set once; training and evaluation read what it writes.

    python scripts/prepare_dataset.py context_shapes
    python scripts/prepare_dataset.py camvid --source=/path/to/camvid

Checks every image and label of the source while it writes them as array_record files. A data set
that is already prepared is left as it is.
"""

from absl import flags

from gcnet_jax.cli import command
from gcnet_jax.data import open_split, prepare, split_names
from gcnet_jax.errors import InputError

_SOURCE = flags.DEFINE_string("source", None, "folder with the original files")
_DATA_DIR = flags.DEFINE_string("data_dir", "data", "folder for all prepared data sets")


def main() -> None:
    """Entry point of `scripts/prepare_dataset.py`."""
    command.run(_prepare, __name__)


def _prepare(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise InputError("give the name of one data set; see --help")
    name = arguments[0]
    folder = prepare(name, _DATA_DIR.value, source=_SOURCE.value)
    for split in split_names(name, _DATA_DIR.value):
        print(f"{split:8} {len(open_split(name, _DATA_DIR.value, split))} images")
    print(f"{name} is prepared in {folder}")
