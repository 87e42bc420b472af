"""Cityscapes, 19 classes, from the official release with fine annotations.

Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", CVPR 2016. The
release labels its pixels with ids from -1 to 33; which of them are evaluated, and as what, is the
`trainId` column of its `cityscapesscripts/helpers/labels.py`.
"""

import functools
from collections.abc import Collection, Sequence

from etils import epath

from gcnet_jax.data.examples import Examples, OfficialSet, Part
from gcnet_jax.tasks.segmentation.data.catalog import IGNORE_LABEL
from gcnet_jax.tasks.segmentation.data.sources.file_pairs import Patterns, find_pairs
from gcnet_jax.tasks.segmentation.data.sources.labels import LabelTable, read_label_image

EVALUATED_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The ids of the 19 classes, in the order of their indices."""

LABELS = LabelTable(
    {
        **dict.fromkeys((*range(34), 255), IGNORE_LABEL),  # 255 is how a PNG holds -1
        **{id_: index for index, id_ in enumerate(EVALUATED_IDS)},
    }
)
COUNTS = {"train": 2975, "val": 500, "test": 1525}


def find_examples(roots: Sequence[epath.Path], splits: Collection[str]) -> Examples:
    """Finds images and labels of some splits; those of the test split are ignored everywhere."""
    image_root, label_root = roots
    return {
        split: find_pairs(
            Patterns(image_root, [f"leftImg8bit/{split}/*/*_leftImg8bit.png"]),
            Patterns(label_root, [f"gtFine/{split}/*/*_gtFine_labelIds.png"]),
            functools.partial(read_label_image, table=LABELS),
        )
        for split in COUNTS
        if split in splits
    }


CITYSCAPES = OfficialSet(
    name="cityscapes",
    description="Cityscapes street scenes with 19 classes.",
    find_examples=find_examples,
    splits=tuple(COUNTS),
    parts=(
        Part(("leftImg8bit",), "leftImg8bit_trainvaltest.zip"),
        Part(("gtFine",), "gtFine_trainvaltest.zip"),
    ),
    counts=COUNTS,
)
