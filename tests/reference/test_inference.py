import numpy as np
import pytest

from gcnet_jax.models import split_for_evaluation
from gcnet_jax.tasks.segmentation.config import default_config
from gcnet_jax.tasks.segmentation.data import DATA_SETS
from gcnet_jax.tasks.segmentation.predictor import Predictor
from tests.reference import golden_files
from tests.reference.equivalence import every_day
from tests.reference.narrow import narrow_segmentor

CASES = golden_files.cases("inference")


def run_config(case, size):
    """Of the case, without resizing images of some (height, width)."""
    config = default_config()
    config.data.base_scale = (max(size), min(size))
    config.evaluation.mode = case["test_cfg"]["mode"]
    if config.evaluation.mode == "slide":
        config.evaluation.window = tuple(case["test_cfg"]["crop_size"])
        config.evaluation.window_stride = tuple(case["test_cfg"]["stride"])
    config.evaluation.scales = tuple(case["scales"])
    return config


@pytest.mark.parametrize("name", every_day(CASES, ["slide"], pytest.mark.campaign))
def test_one_scale_and_all_with_flips(name, golden, equivalence):
    theirs, case = golden("inference"), CASES[name]
    image = np.ascontiguousarray(theirs["image_bgr"][..., ::-1])
    classes = DATA_SETS.meaning(case["config"].split("_")[-1].partition("-")[0])
    model = narrow_segmentor(case["config"], case["width"], len(classes.names))
    model = split_for_evaluation(model)
    config = run_config(case, image.shape[:2])
    for quantity, multi_scale, array, labels in (
        ("logits", False, "logits", "pred"),
        ("probabilities over scales and flips", True, "tta_prob", "tta_pred"),
    ):
        ours = Predictor(*model, classes, config, multi_scale=multi_scale).scores(image)
        subject, expected = f"{name} inference", theirs[f"{name}|{array}_s4"][0]
        equivalence.arrays(subject, quantity, name, np.moveaxis(ours[::4, ::4], -1, 0), expected)
        equivalence.labels(subject, f"labels of {quantity}", name, ours, theirs[f"{name}|{labels}"])
