"""Class names and colours of every data set, readable without opening any data."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from gcnet_jax.errors import InputError

IGNORE_LABEL = 255
"""Label of pixels that belong to no class: left out of the loss's sum and of every metric."""


@dataclasses.dataclass(frozen=True)
class DatasetClasses:
    """Names and display colours of a data set's classes, in the order of their indices.

    Attributes:
        names: one name a class; the position is the class index stored in label images.
        palette: one (red, green, blue) colour in 0..255 a class.

    Raises:
        ValueError: if there are not as many colours as names.
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.palette):
            raise ValueError(
                f"{len(self.names)} class names but {len(self.palette)} colours; "
                "every class has exactly one colour"
            )

    @property
    def num_classes(self) -> int:
        """Number of classes, the ignored label not counted."""
        return len(self.names)


CATALOG: Mapping[str, DatasetClasses] = MappingProxyType(
    {
        "camvid": DatasetClasses(
            names=(
                "sky",
                "building",
                "pole",
                "road",
                "pavement",
                "tree",
                "sign-symbol",
                "fence",
                "car",
                "pedestrian",
                "bicyclist",
            ),
            palette=(
                (128, 128, 128),
                (128, 0, 0),
                (192, 192, 128),
                (128, 64, 128),
                (60, 40, 222),
                (128, 128, 0),
                (192, 128, 128),
                (64, 64, 128),
                (64, 0, 128),
                (64, 64, 0),
                (0, 128, 192),
            ),
        ),
        # One hue a shape, and warm against cold for the two scenes.
        "context_shapes": DatasetClasses(
            names=(
                "background",
                "sky",
                "day disc",
                "night disc",
                "day square",
                "night square",
                "triangle",
            ),
            palette=(
                (38, 40, 46),
                (178, 206, 230),
                (244, 162, 38),
                (58, 110, 214),
                (226, 74, 60),
                (110, 60, 176),
                (88, 178, 104),
            ),
        ),
    }
)


def dataset_classes(name: str) -> DatasetClasses:
    """Returns the classes of the data set called ``name``.

    Raises:
        InputError: if no data set has that name; the message lists those that exist.
    """
    if name not in CATALOG:
        raise InputError(f"unknown data set '{name}'; known data sets: {', '.join(CATALOG)}")
    return CATALOG[name]
