"""Average precision against what mmdetection's settings of pycocotools give, to the last digit."""

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_masks

from gcnet_jax.tasks.detection.data import Annotations
from gcnet_jax.tasks.detection.evaluation.average_precision import average_precision
from gcnet_jax.tasks.detection.evaluation.image_detections import ImageDetections


@pytest.fixture(scope="module")
def stored():
    path = Path(__file__).parent / "golden" / "detection" / "coco_eval.json"
    return json.loads(path.read_text())


def counts(segmentation, size):
    if isinstance(segmentation["counts"], list):
        segmentation = coco_masks.frPyObjects(segmentation, *size)
    said = segmentation["counts"]
    return said if isinstance(said, bytes) else said.encode()


def as_ours(stored):
    """What is annotated and what is detected in each image."""
    annotated, detected = [], []
    for index, image in enumerate(stored["ground_truth"]["images"]):
        size = image["height"], image["width"]
        objects, found = (
            [each for each in rows if each["image_id"] == image["id"]]
            for rows in (stored["ground_truth"]["annotations"], stored["detections"])
        )
        annotated.append(
            Annotations(
                np.array([each["bbox"] for each in objects], np.float32).reshape(-1, 4),
                np.array([each["category_id"] - 1 for each in objects], np.int32),
                np.array([each["iscrowd"] for each in objects], bool),
                np.array([each["area"] for each in objects], np.float32),
                tuple(counts(each["segmentation"], size) for each in objects),
            )
        )
        boxes = np.array([each["bbox"] for each in found]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        detected.append(
            ImageDetections(
                index,
                size,
                boxes.astype(np.float32),
                np.array([each["score"] for each in found], np.float32),
                np.array([each["category_id"] - 1 for each in found], np.int32),
                tuple(counts(each["segmentation"], size) for each in found),
            )
        )
    return annotated, detected


@pytest.mark.parametrize(("kind", "name"), [("box", "bbox"), ("mask", "segm")])
def test_figures_are_the_references(stored, kind, name, capsys):
    annotated, detected = as_ours(stored)
    found = average_precision(annotated, detected, num_classes=3, kind=kind)
    assert list(found.figures.values()) == stored["stats"][name]
    assert found.by_class["AP"].tolist() == stored["stats"][f"{name}_per_class"]
    assert capsys.readouterr() == ("", "")
