"""What the published runs reached, as mmsegmentation's page on GCNet lists it."""

import csv
from importlib import resources
from typing import NamedTuple


class PublishedResult(NamedTuple):
    """One published run.

    Attributes:
        run: its name, which is also that of its config.
        dataset: as the page calls it.
        backbone: depth and output stride.
        crop: height and width of the training crops.
        steps: of training.
        miou: in percent, at a single scale.
        miou_multi_scale: in percent, at six scales with mirror images.
        memory_gb: in training, for each of four V100.
        images_per_second: of inference on a V100.
    """

    run: str
    dataset: str
    backbone: str
    crop: str
    steps: int
    miou: float
    miou_multi_scale: float
    memory_gb: float | None
    images_per_second: float | None


def published_results() -> list[PublishedResult]:
    """The sixteen runs in the page's order."""
    text = (resources.files("gcnet_jax.tasks.segmentation") / "published_results.csv").read_text()
    return [
        PublishedResult(
            run=row["run"],
            dataset=row["dataset"],
            backbone=row["backbone"],
            crop=row["crop"],
            steps=int(row["steps"]),
            miou=float(row["miou"]),
            miou_multi_scale=float(row["miou_multi_scale"]),
            memory_gb=float(row["memory_gb"]) if row["memory_gb"] else None,
            images_per_second=float(row["images_per_second"]) if row["images_per_second"] else None,
        )
        for row in csv.DictReader(text.splitlines())
    ]
