"""The data sets of images and labels: the official ones by name, and whatever users prepare.

A new official data set is one module in `sources/`, one entry in `OFFICIAL_SETS` and its classes in
the catalog. A user's own images need no code: `prepare_folder`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from gcnet_jax.data import DataSets, OfficialSet
from gcnet_jax.tasks.segmentation.data.catalog import CATALOG
from gcnet_jax.tasks.segmentation.data.labelled_images import LabelledImages
from gcnet_jax.tasks.segmentation.data.sources.ade20k import ADE20K
from gcnet_jax.tasks.segmentation.data.sources.camvid import CAMVID
from gcnet_jax.tasks.segmentation.data.sources.cityscapes import CITYSCAPES
from gcnet_jax.tasks.segmentation.data.sources.context_shapes import CONTEXT_SHAPES
from gcnet_jax.tasks.segmentation.data.sources.voc12aug import VOC12AUG

OFFICIAL_SETS: Mapping[str, OfficialSet] = MappingProxyType(
    {official.name: official for official in (ADE20K, CAMVID, CITYSCAPES, CONTEXT_SHAPES, VOC12AUG)}
)

DATA_SETS = DataSets(
    OFFICIAL_SETS, CATALOG, LabelledImages, own_command="folder --name {name} --source FOLDER ..."
)
"""All of them, found by name."""
