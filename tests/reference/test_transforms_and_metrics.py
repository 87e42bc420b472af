import cv2
import numpy as np
import pytest

from gcnet_jax.data import rescaled_size
from gcnet_jax.tasks.segmentation.config import default_config
from gcnet_jax.tasks.segmentation.data import transforms
from gcnet_jax.tasks.segmentation.evaluation import metrics_from_confusion
from gcnet_jax.tasks.segmentation.evaluation.evaluator import confusion_matrix
from gcnet_jax.training import learning_rate_schedule
from tests.reference import arrays


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


@pytest.mark.parametrize("case", ["resize0", "resize1", "resize2"])
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


def test_photometric_distortion(theirs, road_scene, equivalence):
    distortion = transforms.PhotometricDistortion(
        brightness=20.5, contrast=1.3, saturation=0.8, hue=11
    )
    ours = transforms.distort_photometric(road_scene[0], distortion)[::4, ::4, ::-1]
    expected = theirs["photometric|b20.5_c1.3_s0.8_h11_s4"]
    equivalence.arrays(
        "transforms", "photometric distortion, pixels", "one", ours, expected, "exact", scale=1
    )


@pytest.mark.parametrize("classes", [19, 150])
def test_metrics(theirs, equivalence, classes):
    name = f"metric{classes}"
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


def test_the_schedule_of_40k_steps(theirs, equivalence):
    schedule = learning_rate_schedule(default_config().optimizer, 40_000)
    ours = np.array([schedule(int(step)) for step in theirs["poly40k|iters"]])
    equivalence.arrays(
        "PolyLR", "learning rate", "40k", ours, theirs["poly40k|lr"], "exact", scale=1
    )
