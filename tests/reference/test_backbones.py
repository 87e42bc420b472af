import functools

import jax
import numpy as np
import pytest
from flax import nnx

from gcnet_jax.models import ContextPlacement, ResNet, merge, split_for_evaluation
from gcnet_jax.nn import GlobalContext, NonLocal
from gcnet_jax.tasks.segmentation.weights import FOREIGN
from tests.reference import arrays, golden_files
from tests.reference.equivalence import every_day

CASES = golden_files.cases("backbones")
EVERY_DAY = ("v1c50_d8", "v1d50_d32", "v1b18_d32", "v1b50_d32_gc_conv3_r16", "v1b50_d32_nl_conv3")
OUTPUT_STRIDES = {(1, 2, 1, 1): 8, (1, 2, 2, 1): 16, (1, 2, 2, 2): 32}


def build(name):
    arguments = CASES[name]["args"]
    return ResNet(
        arguments["depth"],
        variant=name[:3],
        output_stride=OUTPUT_STRIDES[tuple(arguments["strides"])],
        base_channels=CASES[name]["base_channels"],
        context=placement(*arguments.get("plugins", [])),
        rngs=nnx.Rngs(0),
    )


def placement(plugin=None):
    if plugin is None:
        return None
    match plugin["cfg"]["type"]:
        case "ContextBlock":
            block = functools.partial(GlobalContext, ratio=plugin["cfg"]["ratio"], rngs=nnx.Rngs(0))
        case "NonLocal2d":
            block = functools.partial(NonLocal, mode=plugin["cfg"]["mode"], rngs=nnx.Rngs(0))
        case other:
            raise ValueError(other)
    stages = [index for index, present in enumerate(plugin["stages"]) if present]
    return ContextPlacement(block, plugin["position"], stages)


@jax.jit(static_argnums=0)
def features(graphdef, variables, images):
    return merge(graphdef, variables)(images)


@pytest.mark.parametrize("name", every_day(CASES, EVERY_DAY))
def test_backbone(name, golden, equivalence):
    case, theirs = CASES[name], golden("backbones")
    backbone, given = nnx.eval_shape(lambda: build(name)), arrays.state_dict(case["state"])
    FOREIGN.import_state_dict(backbone, given)
    images = np.moveaxis(arrays.normal(name, case["shape"]), 1, -1)
    stages = features(*split_for_evaluation(backbone), images)
    for stage, output in zip(("c2", "c3", "c4", "c5"), stages, strict=True):
        output = np.moveaxis(output, -1, 1)
        equivalence.arrays("ResNet", f"stage {stage}", name, output, theirs[f"{name}|{stage}"])

    exported = FOREIGN.export_state_dict(backbone)
    assert exported.keys() == given.keys()
    for key, array in given.items():
        np.testing.assert_array_equal(exported[key], array, strict=True)
