"""ADE20K as the 150 classes of the scene parsing challenge (SceneParse150), from its release.

Zhou et al., "Scene Parsing through ADE20K Dataset", CVPR 2017.
"""

import functools
from collections.abc import Collection, Sequence

from etils import epath

from gcnet_jax.data.examples import Examples, OfficialSet, Part
from gcnet_jax.tasks.segmentation.data.catalog import CATALOG, IGNORE_LABEL
from gcnet_jax.tasks.segmentation.data.sources.file_pairs import Patterns, find_pairs
from gcnet_jax.tasks.segmentation.data.sources.labels import LabelTable, read_label_image

FOLDER = "ADEChallengeData2016"
SUBFOLDERS = {"train": "training", "val": "validation"}

# The release counts its classes from 1, and 0 is everything else.
LABELS = LabelTable(
    {0: IGNORE_LABEL, **{i + 1: i for i in range(CATALOG["ade20k"].num_classes)}},
)


def find_examples(roots: Sequence[epath.Path], splits: Collection[str]) -> Examples:
    """Finds the images and labels of some splits."""
    (root,) = roots
    return {
        split: find_pairs(
            Patterns(root, [f"{FOLDER}/images/{subfolder}/*.jpg"]),
            Patterns(root, [f"{FOLDER}/annotations/{subfolder}/*.png"]),
            functools.partial(read_label_image, table=LABELS),
        )
        for split, subfolder in SUBFOLDERS.items()
        if split in splits
    }


ADE20K = OfficialSet(
    name="ade20k",
    description="ADE20K scenes with the 150 classes of SceneParse150.",
    find_examples=find_examples,
    splits=tuple(SUBFOLDERS),
    parts=(Part((FOLDER,), f"{FOLDER}.zip"),),
    counts={"train": 20210, "val": 2000},
)
