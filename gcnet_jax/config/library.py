"""The configs that come with this library, by name."""

from pathlib import Path

from gcnet_jax.errors import InputError, did_you_mean

_PUBLISHED = ("gcnet", "coco")
"""The folders of the runs whose weights are published."""
_COMMON = "common"
"""The folder of what configs have in common, which are no configs themselves."""


def library_folder() -> Path:
    """Returns the folder of the configs: in the installed package, or a checkout's own."""
    package = Path(__file__).parents[1]
    installed = package / "configs"  # a wheel has them, and who knows what beside the package
    return installed if installed.is_dir() else package.parent / "configs"


def library_configs() -> dict[str, Path]:
    """Returns the files of all configs by name, such as `context_shapes/gcnet`."""
    folder = library_folder()
    files = (file.relative_to(folder) for file in sorted(folder.glob("*/*.py")))
    return {
        file.with_suffix("").as_posix(): folder / file for file in files if file.parts[0] != _COMMON
    }


def published_runs() -> list[str]:
    """Returns the names of the runs whose weights are published."""
    names = (full.split("/") for full in library_configs())
    return [name for folder, name in names if folder in _PUBLISHED]


def config_of_published(run: str) -> str:
    """Returns the name of the config that published weights are of.

    Raises:
        InputError: they are of no run.
    """
    for full in library_configs():
        if full.rpartition("/")[2] == run:
            return full
    raise InputError(
        f"the published weights {run} are of a backbone alone, which is no whole network; "
        "training.init_from takes them"
    )


def configs_named(name: str) -> list[str]:
    """Returns the full names of the configs that a name stands for, with its folder or without."""
    return [full for full in library_configs() if name in (full, full.rpartition("/")[2])]


def find_config(name: str) -> Path:
    """Returns the file of a config.

    Args:
        name: `FOLDER/NAME`, or `NAME` where no other folder has one.

    Raises:
        InputError: there is none of that name, or several.
    """
    configs = library_configs()
    found = configs_named(name)
    if len(found) == 1:
        return configs[found[0]]
    if found:
        raise InputError(f"there are several configs {name}: {', '.join(found)}")
    short = [full.rpartition("/")[2] for full in configs]
    raise InputError(
        f"there is no config file {name}, and no config of that name"
        f"{did_you_mean(name, [*short, *configs])}; `gcnet list configs` shows those there are"
    )
