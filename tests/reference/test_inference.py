import json
from pathlib import Path

import numpy as np
import pytest

from gcnet_jax.config import default_config
from gcnet_jax.evaluation import create_multi_scale_predictor, create_predictor
from gcnet_jax.models import split_for_evaluation
from tests.reference.equivalence import every_day
from tests.reference.test_segmentors import build

CASES = json.loads((Path(__file__).parent / "golden" / "inference.json").read_text())


def evaluation_config(case):
    config = default_config().evaluation
    config.mode = case["test_cfg"]["mode"]
    if config.mode == "slide":
        config.window = tuple(case["test_cfg"]["crop_size"])
        config.window_stride = tuple(case["test_cfg"]["stride"])
    config.scales = tuple(case["scales"])
    return config


@pytest.mark.parametrize("name", every_day(CASES, ["slide"]))
def test_one_scale_and_all_with_flips(name, golden, equivalence):
    theirs, case = golden("inference"), CASES[name]
    image = np.ascontiguousarray(theirs["image_bgr"][..., ::-1])
    height, width, _ = image.shape
    model, config = split_for_evaluation(build(case["config"])), evaluation_config(case)
    for quantity, predictor, array, labels in (
        ("logits", create_predictor(*model, config, (width, height)), "logits", "pred"),
        (
            "probabilities over scales and flips",
            create_multi_scale_predictor(*model, config),
            "tta_prob",
            "tta_pred",
        ),
    ):
        ours = predictor(image)
        subject, expected = f"{name} inference", theirs[f"{name}|{array}_s4"][0]
        equivalence.arrays(subject, quantity, name, np.moveaxis(ours[::4, ::4], -1, 0), expected)
        equivalence.labels(subject, f"labels of {quantity}", name, ours, theirs[f"{name}|{labels}"])
