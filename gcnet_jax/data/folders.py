"""Where prepared data sets lie, and what to do about one that is not there or not whole."""

import re

import tensorflow_datasets as tfds
from etils import epath

from gcnet_jax.errors import UsageError
from gcnet_jax.files import as_path, as_utf8, in_bucket

VERSION = "2.0.0"
"""Version of the stored format, which is also the name of the folder that TFDS looks for."""

# What TFDS can have in a file name, without "all", which is its word for every split together.
_NAME = re.compile(r"(?!all$)[a-z][a-z0-9_]*")


def check_name(name: str, what: str) -> None:
    """Raises UsageError if the name of a data set or a split cannot be part of a file name."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' cannot be the name of a {what}; expected lower-case letters, digits and "
            "underscores, the first a letter, and not 'all'"
        )


def final_folder(data_dir: epath.PathLike, name: str) -> epath.Path:
    """Returns the folder that a data set has once it is whole."""
    return as_utf8(as_path(data_dir).expanduser()) / name / VERSION


def unfinished_folder(data_dir: epath.PathLike, name: str) -> epath.Path:
    """Returns the folder in which a data set is made."""
    return final_folder(data_dir, name).with_name(f"unfinished-{VERSION}")


def is_whole(target: epath.Path) -> bool:
    """Returns whether the folder of a data set holds what makes it one."""
    # A folder gets this name when it is whole; but files can be lost later.
    return all((target / file).exists() for file in ("dataset_info.json", "features.json"))


def is_prepared(name: str, data_dir: epath.PathLike) -> bool:
    """Returns whether a data set of that name is prepared in a folder."""
    return bool(name) and is_whole(final_folder(data_dir, name))


def prepared_names(data_dir: epath.PathLike) -> set[str]:
    """Returns the names of all data sets that are prepared in a folder."""
    folder = epath.Path(data_dir)
    if not folder.is_dir():
        return set()
    return {path.name for path in folder.iterdir() if is_whole(final_folder(folder, path.name))}


def other_versions(target: epath.Path) -> list[epath.Path]:
    """Returns folders of other versions of the stored format, beside one of this."""
    if not target.parent.exists():
        return []
    return [path for path in target.parent.iterdir() if tfds.core.Version.is_valid(path.name)]


def prepare_again(target: epath.Path) -> str:
    """Returns what to do about a damaged folder of a data set, for a message."""
    name = target.parent.name
    if in_bucket(target):
        return f"if it is damaged there, copy '{name}' there again"
    return f"delete {target} and prepare '{name}' again"


def copy_to_bucket(name: str, data_dir: epath.PathLike) -> str:
    """Returns how a data set comes into a bucket, for a message."""
    return (
        "prepare it in a local folder, such as data, and copy it when it is whole: "
        f"gcloud storage cp -r data/{name}/{VERSION} {epath.Path(data_dir) / name}/"
    )
