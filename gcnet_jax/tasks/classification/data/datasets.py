"""The data sets of classified images: the official ones by name, and whatever users prepare.

A new official data set is one module in `sources/`, one entry in `OFFICIAL_SETS` and its classes in
`classes`. A user's own images need no code: `prepare_class_folders`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from gcnet_jax.data import DataSets, OfficialSet
from gcnet_jax.tasks.classification.data.classes import CATALOG
from gcnet_jax.tasks.classification.data.classified_images import ClassifiedImages
from gcnet_jax.tasks.classification.data.sources.context_scenes import CONTEXT_SCENES
from gcnet_jax.tasks.classification.data.sources.imagenet import IMAGENET

OFFICIAL_SETS: Mapping[str, OfficialSet] = MappingProxyType(
    {official.name: official for official in (CONTEXT_SCENES, IMAGENET)}
)

DATA_SETS = DataSets(
    OFFICIAL_SETS,
    CATALOG,
    ClassifiedImages,
    own_command="class_folders --name {name} --source FOLDER",
)
"""All of them, found by name."""
