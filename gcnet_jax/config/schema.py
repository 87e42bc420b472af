"""What a config holds: sections of keys, each key with its default, its range and what it is.

A run's file starts from the defaults of its task and sets what is its own. The result is locked, so
that a misspelt key fails where it is written, in the file or on the command line; `check_config`
then holds every value against its range.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from gcnet_jax.config.ranges import Range


class Leaf(NamedTuple):
    """A key that holds a value.

    Attributes:
        default: that of the published runs.
        range: what it may be.
        about: what it is, for people.
    """

    default: Any
    range: Range
    about: str


Section = dict[str, "Leaf | Section"]


@dataclasses.dataclass(frozen=True)
class Schema:
    """All that the configs of a task hold.

    Attributes:
        task: what configs call the task.
        section: every key.
        check: raises InputError unless the values of a config, each in its range, fit together as
            far as the task's own keys go.
    """

    task: str
    section: Section
    check: Callable[[ConfigDict], None]

    def default(self) -> ConfigDict:
        """A config with every key set."""
        return ConfigDict(_defaults(self.section)).lock()


def joined(shared: Section, own: Section) -> Section:
    """A section with the keys of two, those of `shared` first; sections in both are joined too."""
    result = dict(shared)
    for key, entry in own.items():
        there = result.get(key)
        if isinstance(there, dict) and isinstance(entry, dict):
            result[key] = joined(there, entry)
        else:
            result[key] = entry
    return result


def leaves(section: Section, prefix: str = "") -> Iterator[tuple[str, Leaf]]:
    """Yields each key with its sections, such as `data.name`, and what is known of it."""
    for key, entry in section.items():
        if isinstance(entry, Leaf):
            yield f"{prefix}{key}", entry
        else:
            yield from leaves(entry, f"{prefix}{key}.")


def _defaults(section: Section) -> dict[str, Any]:
    return {
        key: entry.default if isinstance(entry, Leaf) else _defaults(entry)
        for key, entry in section.items()
    }
