"""The data sets of a task by name: the official ones, and whatever is prepared in a folder."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import numpy as np
from etils import epath
from jaxtyping import Int32
from ml_collections import ConfigDict

from gcnet_jax.data.contents import Contents
from gcnet_jax.data.examples import OfficialSet
from gcnet_jax.data.folders import (
    copy_to_bucket,
    final_folder,
    is_whole,
    other_versions,
    prepare_again,
    prepared_names,
    unfinished_folder,
)
from gcnet_jax.data.pipeline import TrainIterator, Transform, shard_size, shuffled_batches
from gcnet_jax.data.record_format import RecordFormat
from gcnet_jax.data.split import Split, check_features, open_in_folder
from gcnet_jax.errors import InputError, UsageError, did_you_mean
from gcnet_jax.files import in_bucket

F = TypeVar("F", bound=RecordFormat)


@dataclasses.dataclass(frozen=True)
class DataSets(Generic[F]):
    """The data sets of a task, found by their names.

    Attributes:
        official: those that the task knows by name.
        meanings: what the outputs mean of networks that are trained on these.
        record_format: how a task stores its records.
        own_command: how `prepare_dataset` is called for a user's own files; `{name}` stands for
            the name of the set.
    """

    official: Mapping[str, OfficialSet]
    meanings: Mapping[str, Any]
    record_format: type[F]
    own_command: str

    def open_split(self, name: str, data_dir: epath.PathLike, split: str) -> Split[Any]:
        """Opens one split for random access.

        Args:
            name: the data set.
            data_dir: the folder it was prepared in.
            split: one of its splits, such as `train`.

        Returns:
            The records, of which images are still encoded.

        Raises:
            InputError: if the name or the split is unknown, or the set is not prepared (the message
                gives the command that prepares it), or files of it are missing or not what this
                library has written.
        """
        contents = self.contents(name, data_dir, split)
        return open_in_folder(self.folder(name, data_dir), contents, split)

    def contents(
        self, name: str, data_dir: epath.PathLike, split: str | None = None
    ) -> Contents[F]:
        """Reads the table of contents of a prepared data set, of which no record is read.

        Args:
            name: the data set.
            data_dir: the folder it was prepared in.
            split: one that it must have.

        Raises:
            InputError: if the name or the split is unknown, or the set is not prepared, or not for
                this task.
        """
        folder = self.folder(name, data_dir)
        check_features(folder, self.record_format)
        contents = Contents.read(folder, self.record_format)
        if split is not None:
            self._check_split(name, split, contents, data_dir)
        return contents

    def meaning(self, name: str, data_dir: epath.PathLike | None = None) -> Any:
        """Returns what the outputs mean of a network that is trained on a data set.

        Args:
            name: an official data set, which need not be prepared, or a user's own.
            data_dir: the folder in which a user's own data set was prepared.

        Raises:
            InputError: if there is no such data set; the message lists the official ones.
        """
        if name in self.meanings:
            return self.meanings[name]
        if data_dir is None:
            raise InputError(
                f"unknown data set '{name}'{did_you_mean(name, self.meanings)}; known data sets: "
                f"{', '.join(self.meanings)}"
            )
        return self.contents(name, data_dir).record_format.meaning

    def check_split(self, name: str, data_dir: epath.PathLike, split: str) -> None:
        """Refuses a split that means nothing, whether trained on or compared with.

        Raises:
            InputError: if there is nothing to learn from it or to compare with; or as `contents`.
        """
        contents = self.contents(name, data_dir, split)
        contents.record_format.check_split(contents.counts(split), name, split)

    def counts(self, name: str, data_dir: epath.PathLike, split: str) -> Any:
        """Returns what the task counts over a split; raises as `contents` does.

        None if the set was prepared by a version that counted nothing.
        """
        return self.contents(name, data_dir, split).counts(split)

    def split_names(self, name: str, data_dir: epath.PathLike) -> tuple[str, ...]:
        """Returns the splits of a prepared data set; raises as `contents` does."""
        return tuple(self.contents(name, data_dir).splits)

    def split_size(self, name: str, data_dir: epath.PathLike, split: str) -> int:
        """Returns the number of images in a split; raises as `open_split` does."""
        return len(self.open_split(name, data_dir, split))

    def training_batches(
        self,
        data_config: ConfigDict,
        transform: Transform,
        *,
        batch_size: int,
        seed: int,
        shard_index: int = 0,
        shard_count: int = 1,
    ) -> TrainIterator[Any]:
        """Returns an endless iterator over randomly transformed training batches.

        Every epoch visits each record once, in an order of its own. A batch may span two epochs.

        Args:
            data_config: the section `data` of a config, which names the split.
            transform: makes a sample of a record.
            batch_size: number of samples a step, over all processes.
            seed: determines order and transforms.
            shard_index: which part of each batch to make.
            shard_count: how many parts there are; each has `batch_size / shard_count` samples.

        Raises:
            InputError: if the split cannot be opened, nothing can be learnt from it, or the batch
                does not divide by the parts.
        """
        shard_size(batch_size, shard_count)  # the quickest to be refused
        return shuffled_batches(
            self.training_records(data_config),
            transform,
            batch_size=batch_size,
            seed=seed,
            num_workers=data_config.num_workers,
            shard_index=shard_index,
            shard_count=shard_count,
        )

    def training_records(self, data_config: ConfigDict) -> Split[Any]:
        """Opens the split that a config trains on.

        Args:
            data_config: the section `data` of a config, which names it.

        Raises:
            InputError: if it cannot be opened, or nothing can be learnt from it.
        """
        config: Any = data_config  # its values have no static types
        records = self.open_split(config.name, config.data_dir, config.train_split)
        self.check_split(config.name, config.data_dir, config.train_split)
        return records

    def holds(self, name: str, data_dir: epath.PathLike) -> bool:
        """Returns whether a data set of that name is prepared in a folder, for this task."""
        try:
            check_features(self.folder(name, data_dir), self.record_format)
        except InputError:
            return False
        return True

    def image_sizes(
        self, name: str, data_dir: epath.PathLike, split: str
    ) -> Int32[np.ndarray, "n 2"]:
        """Returns (height, width) of every image of a split in pixels; raises as `contents`."""
        return self.contents(name, data_dir, split).sizes(split)

    def folder(self, name: str, data_dir: epath.PathLike) -> epath.Path:
        """Returns the folder of a prepared data set.

        Raises:
            InputError: if it is not prepared, or has lost files; the message says what to do.
        """
        if not name:
            raise InputError(
                "no data set is named (data.name is empty); expected --config.data.name=NAME, of "
                f"one that is prepared, or one of {', '.join(self.official)}"
            )
        target = final_folder(data_dir, name)
        if is_whole(target):
            return target
        if target.exists():
            raise InputError(f"{target} has lost some of its files; {prepare_again(target)}")
        remedy = f"; {self.how_to_prepare(name, data_dir)}"
        if name not in self.official and not target.parent.exists():
            remedy = did_you_mean(name, self.official.keys() | prepared_names(data_dir)) or remedy
        message = f"data set '{name}' is not prepared in {data_dir}{remedy}"
        if unfinished_folder(data_dir, name).exists():
            message += " (which goes on with what has been begun)"
        elif before := other_versions(target):
            message += f" ({before[0]} is of another version of this library and can be deleted)"
        if name not in self.official:
            message += f"; the official data sets are: {', '.join(self.official)}"
        raise InputError(message)

    def official_set(self, name: str) -> OfficialSet:
        """Returns an official data set.

        Raises:
            InputError: if there is none of that name; the message lists those that there are.
        """
        if name not in self.official:
            raise UsageError(
                f"there is no official data set '{name}'{did_you_mean(name, self.official)}; "
                f"there are: {', '.join(self.official)}"
            )
        return self.official[name]

    def how_to_prepare(self, name: str, data_dir: epath.PathLike) -> str:
        """Returns what to do about a data set that is not there, for a message."""
        if in_bucket(data_dir):
            return copy_to_bucket(name, data_dir)
        command = self.own_command.format(name=name)
        if name in self.official:
            command = f"{name} --source FOLDER" if self.official[name].parts else name
        return f"prepare it with: gcnet prepare_dataset {command} --data_dir {data_dir}"

    def _check_split(
        self, name: str, split: str, contents: Contents[F], data_dir: epath.PathLike
    ) -> None:
        if split in contents.splits:
            return
        there = ", ".join(contents.splits)
        if name in self.official and split in self.official[name].splits:
            raise InputError(
                f"split '{split}' of data set '{name}' is not prepared in {data_dir}, but {there}; "
                f"{self.how_to_prepare(name, data_dir)} --splits {split}"
            )
        raise InputError(f"data set '{name}' has no split '{split}'; its splits are {there}")
