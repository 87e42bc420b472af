"""The data sets of annotated images: the official ones by name, and whatever users prepare.

A new official data set is one module in `sources/`, one entry in `OFFICIAL_SETS` and its classes in
`classes/`. A user's own json in COCO's format needs no code: `prepare_coco_json`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from gcnet_jax.data import DataSets, OfficialSet
from gcnet_jax.tasks.detection.classes import ObjectClasses, known_classes
from gcnet_jax.tasks.detection.data.annotated_images import AnnotatedImages
from gcnet_jax.tasks.detection.data.sources.coco import COCO
from gcnet_jax.tasks.detection.data.sources.context_objects import CLASSES, CONTEXT_OBJECTS

OFFICIAL_SETS: Mapping[str, OfficialSet] = MappingProxyType(
    {official.name: official for official in (COCO, CONTEXT_OBJECTS)}
)

CATALOG: Mapping[str, ObjectClasses] = MappingProxyType(
    {COCO.name: known_classes(COCO.name), CONTEXT_OBJECTS.name: CLASSES}
)
"""The classes of the data sets known by name, which need not be prepared."""

DATA_SETS = DataSets(
    OFFICIAL_SETS,
    CATALOG,
    AnnotatedImages,
    own_command="coco_json --name={name} --train_json=FILE --train_images=FOLDER --val_json=FILE",
)
"""All of them, found by name."""
