"""Names of the classes of whole images, and those of the data sets known by name."""

import csv
import dataclasses
from collections import Counter
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType

from gcnet_jax.errors import InputError
from gcnet_jax.tasks.named_classes import NamedClasses


@dataclasses.dataclass(frozen=True)
class ImageClasses(NamedClasses):
    """Names of a data set's classes, in the order of their indices.

    Attributes:
        names: one name a class; the position is the class index that records hold.

    Raises:
        InputError: there is no class, a name is empty or there twice, or holds control characters.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.names:
            raise InputError("there are no classes; expected a name for each")
        name, times = Counter(self.names).most_common(1)[0]
        if times > 1:
            raise InputError(f"{times} classes are called '{name}'; expected a name for each")
        if "" in self.names:
            raise InputError("the name of a class is empty; expected one for each")


def _imagenet_table() -> list[tuple[str, str]]:
    """The WordNet id of each class of ImageNet, and the first word of its synset."""
    table = resources.files("gcnet_jax.tasks.classification.data").joinpath("classes/imagenet.csv")
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    return [(row["wordnet_id"], row["word"]) for row in rows]


WORDNET_IDS: tuple[str, ...] = tuple(wordnet_id for wordnet_id, _ in _imagenet_table())
"""The classes of ILSVRC2012 in the order of their indices, which is that of these ids."""

CATALOG: Mapping[str, ImageClasses] = MappingProxyType(
    {
        "context_scenes": ImageClasses(("red", "yellow", "green", "violet")),
        # Words alone are not unique: there are two cranes and two maillots.
        "imagenet": ImageClasses(tuple(f"{word} ({id})" for id, word in _imagenet_table())),
    }
)
"""The classes of the data sets known by name."""
