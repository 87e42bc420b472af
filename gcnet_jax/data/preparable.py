"""What `gcnet prepare_dataset` and `gcnet list` need to know of a task's data."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

import rich.table
from etils import epath

from gcnet_jax.data.datasets import DataSets

Prepare = Callable[..., epath.Path]
"""Takes a name, `data_dir`, a source if any, and options by name; returns the set's folder."""


@dataclasses.dataclass(frozen=True)
class OwnFiles:
    """How a task prepares files of a user's own.

    Attributes:
        command: the word for it on the command line, such as "folder".
        prepare: writes the set; takes `pixels` and `max_image_pixels` besides the options below.
        required: names of options that must be given.
        options: names of options that may be.
        takes_source: whether it takes one folder with all files, and not options alone.
    """

    command: str
    prepare: Prepare
    required: Collection[str] = ()
    options: Collection[str] = ()
    takes_source: bool = True


@dataclasses.dataclass(frozen=True)
class Preparable:
    """What a task can prepare. The module `data` of the task's package has one of that name.

    Attributes:
        sets: its data sets.
        prepare: writes an official one; takes `pixels`, `max_image_pixels`, `subset` and `splits`
            besides the options below.
        options: names of further options that it takes.
        own: how it prepares files of a user's own.
        counts_table: shows what is counted of each split, for the classes of the record format.
        samples: what the picture of samples shows.
        training: the options of `gcnet train` that learn a user's own set, by its name and its
            record format.
    """

    sets: DataSets[Any]
    prepare: Prepare
    own: OwnFiles
    counts_table: Callable[[Mapping[str, Any], Any], rich.table.Table]
    samples: str
    training: Callable[[str, Any], str]
    options: Collection[str] = ()
