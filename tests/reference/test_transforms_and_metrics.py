import re

import cv2
import numpy as np
import pytest

from gcnet_jax.data import rescaled_size
from gcnet_jax.tasks.segmentation.config import default_config
from gcnet_jax.tasks.segmentation.data import transforms
from gcnet_jax.tasks.segmentation.evaluation import metrics_from_confusion
from gcnet_jax.tasks.segmentation.evaluation.evaluator import confusion_matrix
from gcnet_jax.training import learning_rate_schedule
from tests.reference import arrays, golden_files

KEYS = golden_files.keys("transforms_metrics")


def cases(kind):
    """The names of the cases that begin with a word."""
    return sorted({key.partition("|")[0] for key in KEYS if key.startswith(kind)})


@pytest.fixture(scope="module")
def theirs(golden):
    return golden("transforms_metrics")


@pytest.fixture(scope="module")
def road_scene(shared):
    """The image and label that the stored transforms were made from; CamVid is not ours to copy."""
    name = "0001TP_006690"
    image = cv2.imread(str(shared / "camvid" / "train" / f"{name}.jpg"))
    label = cv2.imread(str(shared / "camvid" / "trainannot" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
    if image is None or label is None:
        pytest.skip("CamVid is not there")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB), label


@pytest.mark.parametrize("case", cases("resize"))
def test_resize(theirs, road_scene, equivalence, case):
    image, label = road_scene
    size = rescaled_size(label.shape, tuple(theirs[f"{case}|scale"].tolist()))
    assert size == tuple(theirs[f"{case}|shape"])
    image, label = transforms.resize(image, label, size)
    for quantity, ours, key in (
        ("resized image, pixels", image[::8, ::8, ::-1], "image_s8"),
        ("resized label, pixels", label[::8, ::8], "label_s8"),
    ):
        expected = theirs[f"{case}|{key}"]
        equivalence.arrays("transforms", quantity, case, ours, expected, "exact", scale=1)


@pytest.mark.parametrize("key", [key for key in KEYS if key.startswith("photometric")])
def test_photometric_distortion(theirs, road_scene, equivalence, key):
    amounts = re.search(r"b([\d.-]+)_c([\d.-]+)_s([\d.-]+)_h([\d-]+)_s4", key)
    brightness, contrast, saturation, hue = map(float, amounts.groups())
    distortion = transforms.PhotometricDistortion(
        brightness=brightness, contrast=contrast, saturation=saturation, hue=int(hue)
    )
    ours = transforms.distort_photometric(road_scene[0], distortion)[::4, ::4, ::-1]
    equivalence.arrays(
        "transforms", "photometric distortion, pixels", key, ours, theirs[key], "exact", scale=1
    )


@pytest.mark.parametrize("name", cases("metric"))
def test_metrics(theirs, equivalence, name):
    classes = len(theirs[f"{name}|IoU"])
    labels = arrays.labels(f"{name}/labels", (4, 61, 47), classes)
    predictions = arrays.labels(f"{name}/pred", (4, 61, 47), classes, ignored=0)
    predictions[0] = np.where(labels[0] != 255, labels[0], predictions[0])
    metrics = metrics_from_confusion(np.asarray(confusion_matrix(labels, predictions, classes)))
    # The reference divides in float32, which is where our double precision is rounded to.
    precision, recall = (np.float32(x) for x in (metrics.precision, metrics.recall))
    for key, ours in {
        "aAcc": np.float32(metrics.accuracy),
        "IoU": np.float32(metrics.iou),
        "Acc": recall,
        "Recall": recall,
        "Precision": precision,
        "Dice": np.float32(metrics.dice),
        "Fscore by the reference's float32 steps": 2 * precision * recall / (precision + recall),
    }.items():
        expected = theirs[f"{name}|{key.split()[0]}"]
        equivalence.arrays("metrics", key, name, ours, expected, "exact", scale=1)
    # Ours is not a chain of float32 operations, and so differs by their rounding.
    equivalence.arrays(
        "metrics",
        "Fscore in double precision",
        name,
        metrics.f_score,
        theirs[f"{name}|Fscore"],
        "float32",
        scale=1,
    )


@pytest.mark.parametrize("name", cases("poly"))
def test_the_schedule(theirs, equivalence, name):
    steps = 1000 * int(re.search(r"\d+", name).group())
    schedule = learning_rate_schedule(default_config().optimizer, steps)
    ours = np.array([schedule(int(step)) for step in theirs[f"{name}|iters"]])
    expected = theirs[f"{name}|lr"]
    equivalence.arrays("PolyLR", "learning rate", name, ours, expected, "exact", scale=1)
