"""Backbones, feature pyramid and heads of six published detectors, a quarter as wide or less."""

import jax
import numpy as np
import pytest

from gcnet_jax.models import merge, split_for_evaluation
from gcnet_jax.tasks.detection.weights import export_state_dict
from tests.reference.equivalence import every_day
from tests.reference.narrow_detectors import CASES, EVERY_DAY, image, narrow_detector, state_dict

STRIDED = {"c2": 2, "c3": 2, "p2": 2}  # quantities of which every second position is stored


@jax.jit(static_argnums=0)
def quantities(graphdef, variables, images):
    """What the reference's outputs hold of the networks that see whole images, by their names."""
    model = merge(graphdef, variables)
    stages = model.backbone(images)
    maps = model.neck(stages)
    found = {f"c{level}": x for level, x in enumerate(stages, 2)}
    for level, x in enumerate(maps, 2):
        found[f"p{level}"] = x
        found[f"rpn_cls{level}"], deltas = model.rpn_head(x)
        found[f"rpn_reg{level}"] = deltas.reshape(*deltas.shape[:3], -1)
    return found


@pytest.mark.parametrize("name", every_day(CASES, EVERY_DAY))
def test_networks_of_whole_images(name, golden, equivalence):
    theirs, model = golden("detection/detectors"), narrow_detector(name)
    for quantity, ours in quantities(*split_for_evaluation(model), image(name)).items():
        step = STRIDED.get(quantity, 1)
        ours = np.moveaxis(ours[:, ::step, ::step], -1, 1)
        equivalence.arrays("detector", quantity, name, ours, theirs[f"{name}|{quantity}"])


@pytest.mark.parametrize("name", CASES)
def test_weights_come_back_as_they_were_given(name):
    given, exported = state_dict(name), export_state_dict(narrow_detector(name))
    assert exported.keys() == given.keys()
    for key, array in given.items():
        np.testing.assert_array_equal(exported[key], array, strict=True)
