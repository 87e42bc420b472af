"""A picture of some images of a data set with their masks, for a look before any training."""

from collections.abc import Iterable

from etils import epath

from gcnet_jax.data.catalog import DatasetClasses
from gcnet_jax.data.picture_table import Row, draw_table, encoded, fitted
from gcnet_jax.data.pictures import label_overlay
from gcnet_jax.data.records import Sample
from gcnet_jax.files import write_whole

_CELL = 400  # pixels: the width of a picture, and its greatest height
_COLUMNS = ("image", "mask", "mask over the image")


def save_samples(
    path: epath.Path, samples: Iterable[tuple[str, Sample]], classes: DatasetClasses
) -> None:
    """Writes a PNG: one row a sample, with the image, the mask in colours, and one over the other.

    Args:
        path: of the PNG.
        samples: with their names.
        classes: whose colours the masks have; those that are seen are named below.
    """
    rows = []
    for name, sample in samples:
        image, label = fitted(sample["image"], _CELL), fitted(sample["label"], _CELL)
        rows.append(Row(name, (image, label, label_overlay(image, label, classes.palette))))
    write_whole(path, encoded(draw_table(_COLUMNS, rows, classes, cell=_CELL), "PNG"))
