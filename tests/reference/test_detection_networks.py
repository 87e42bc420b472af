"""Backbones, feature pyramid and heads of detectors against those of mmdetection."""

import jax
import numpy as np
import pytest
from flax import nnx

from gcnet_jax import interop
from gcnet_jax.models import (
    FEATURE_PYRAMID,
    FeaturePyramid,
    frozen_parameters,
    merge,
    split_for_evaluation,
)
from gcnet_jax.nn import DeformableConv
from gcnet_jax.tasks.detection.weights import FOREIGN
from tests.reference import arrays, golden_files
from tests.reference.equivalence import every_day
from tests.reference.narrow_detectors import CASES, EVERY_DAY, image, narrow_detector, state_dict

OPERATIONS = golden_files.cases("detection/det_ops")
STRIDES = {"c2": 2, "c3": 2, "p2": 2}  # of quantities that are not stored at all positions


def channels_first(x):
    return np.moveaxis(np.asarray(x), -1, 1)


def channels_last(x):
    return np.moveaxis(x, 1, -1)


@jax.jit(static_argnums=0)
def quantities(graphdef, variables, images, regions):
    """What the networks give to images, by its names, and a box head to features of regions."""
    model = merge(graphdef, variables)
    stages = model.backbone(images)
    found = {f"c{level}": x for level, x in enumerate(stages, 2)}
    for level, x in enumerate(model.neck(stages), 2):
        found[f"p{level}"] = x
        found[f"rpn_cls{level}"], deltas = model.rpn_head(x)
        found[f"rpn_reg{level}"] = deltas.reshape(*deltas.shape[:3], -1)
    logits, deltas = model.box_heads[0](regions)
    return found, logits, deltas.reshape(len(deltas), -1)


@pytest.mark.parametrize("name", every_day(CASES, EVERY_DAY, pytest.mark.campaign))
def test_the_networks_of_a_detector(name, golden, equivalence):
    theirs, model = golden("detection/detectors"), narrow_detector(name)
    regions = channels_last(theirs[f"{name}|roi_feats"])
    found, *of_regions = quantities(*split_for_evaluation(model), image(name), regions)
    for quantity, ours in found.items():
        step = STRIDES.get(quantity, 1)
        ours = channels_first(ours[:, ::step, ::step])
        equivalence.arrays("detector", quantity, name, ours, theirs[f"{name}|{quantity}"])
    stage = "0" if len(model.box_heads) > 1 else ""
    for quantity, ours in zip(("cls", "reg"), of_regions, strict=True):
        expected = theirs[f"{name}|{quantity}{stage}"][: len(ours)]
        equivalence.arrays("detector", f"box head's {quantity}", name, ours, expected)


@pytest.mark.parametrize("name", CASES)
def test_weights_come_back_as_they_were_given(name):
    given, exported = state_dict(name), FOREIGN.export_state_dict(narrow_detector(name))
    assert exported.keys() == given.keys()
    for key, array in given.items():
        np.testing.assert_array_equal(exported[key], array, strict=True)


@pytest.mark.parametrize("name", every_day(CASES, EVERY_DAY[:1]))
def test_the_parameters_that_are_frozen_are_those_of_the_reference(name):
    model = nnx.clone(narrow_detector(name))
    frozen = frozen_parameters(model)
    for path, parameter in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        if ".".join(map(str, path)) in frozen:
            parameter.set_value(np.full(parameter.shape, np.nan, np.float32))
    marked = {
        key for key, array in FOREIGN.export_state_dict(model).items() if np.isnan(array).any()
    }
    assert marked == set(CASES[name]["frozen"])


@pytest.mark.skipif(not OPERATIONS, reason="the file of single operations is not there")
def test_the_feature_pyramid_on_odd_sizes_and_its_gradients(golden, equivalence):
    case, theirs = OPERATIONS["fpn"], golden("detection/det_ops")
    pyramid = FeaturePyramid(
        case["in_channels"], case["out_channels"], num_outputs=case["num_outs"], rngs=nnx.Rngs(0)
    )
    interop.import_state_dict(pyramid, arrays.state_dict(case["state"]), FEATURE_PYRAMID)
    shapes = zip(case["in_channels"], case["sizes"], strict=True)
    features = [
        channels_last(arrays.normal(f"fpn/x{index}", (1, channels, *size)))
        for index, (channels, size) in enumerate(shapes)
    ]
    graphdef, state = nnx.split(pyramid)
    maps, transposed = jax.vjp(lambda *x: nnx.merge(graphdef, state)(x), *features)
    cotangents = [
        channels_last(arrays.normal(f"fpn/cotangent{index}", channels_first(x).shape))
        for index, x in enumerate(maps)
    ]
    gradients = transposed(tuple(cotangents))
    for name, kind, found in (("p", "output", maps), ("dc", "gradient", gradients)):
        for level, ours in enumerate(found, 2):
            key = f"{name}{level}"
            ours, expected = channels_first(ours), theirs[f"fpn|{key}"]
            equivalence.arrays("feature pyramid", kind, key, ours, expected, kind)


@pytest.mark.skipif(not OPERATIONS, reason="the file of single operations is not there")
def test_a_deformable_convolution_computes_its_offsets(golden, equivalence):
    case, theirs = OPERATIONS["dcn_pack"], golden("detection/det_ops")
    state = case["state"]
    conv = DeformableConv(
        case["x_shape"][1], state["weight"][0], groups=case["groups"], rngs=nnx.Rngs(0)
    )
    interop.import_state_dict(conv, arrays.state_dict(state), ((r"offset", "conv_offset"),))
    x = channels_last(arrays.normal("dcn/pack/x", case["x_shape"]))
    for quantity, ours, key in (("offsets", conv.offset(x), "offset"), ("output", conv(x), "y")):
        expected = theirs[f"dcn_pack|{key}"]
        equivalence.arrays(
            "deformable convolution", quantity, "dcn_pack", channels_first(ours), expected
        )
