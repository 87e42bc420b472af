"""What the published detectors reached, as mmdetection's page on GCNet lists it."""

import csv
from importlib import resources
from typing import NamedTuple


class PublishedDetector(NamedTuple):
    """One published run on COCO.

    Attributes:
        run: its name, which is also that of its config.
        box_ap: average precision of boxes, in percent.
        mask_ap: of masks.
        memory_gb: in training, for each of eight GPUs with two images.
    """

    run: str
    box_ap: float
    mask_ap: float
    memory_gb: float | None


def published_detectors() -> list[PublishedDetector]:
    """The 19 runs and their 4 baselines, by name."""
    text = (resources.files("gcnet_jax.tasks.detection") / "published_results.csv").read_text()
    return [
        PublishedDetector(
            run=row["run"],
            box_ap=float(row["box_ap"]),
            mask_ap=float(row["mask_ap"]),
            memory_gb=float(row["memory_gb"]) if row["memory_gb"] else None,
        )
        for row in csv.DictReader(text.splitlines())
    ]
