import jax
import numpy as np
import pytest
from flax import nnx

from gcnet_jax.nn import GlobalContext, NonLocal, SqueezeExcite
from gcnet_jax.tasks.segmentation.weights import FOREIGN
from tests.reference import arrays, golden_files

CASES = golden_files.cases("blocks")
FUSIONS = {"channel_add": "add", "channel_mul": "multiply", "channel_add channel_mul": "both"}


def build(case):
    channels, rngs = case["shape"][1], nnx.Rngs(0)
    match case["block"]:
        case "ContextBlock":
            return GlobalContext(
                channels,
                ratio=1 / case["ratio"],
                pooling={"att": "attention", "avg": "average"}[case["pooling"]],
                fusion=FUSIONS[" ".join(case["fusion"])],
                rngs=rngs,
            )
        case "SELayer":
            gate = {"hsigmoid": "hard_sigmoid", "sigmoid": "sigmoid"}[case["gate"]]
            return SqueezeExcite(channels, ratio=1 / case["ratio"], gate=gate, rngs=rngs)
        case _:
            options = {key: case[key] for key in ("sub_sample", "use_scale") if key in case}
            return NonLocal(channels, mode=case["mode"], **options, rngs=rngs)


@jax.jit(static_argnums=0)
def value_and_cotangents(graphdef, params, x, cotangent):
    y, pullback = jax.vjp(lambda params, x: nnx.merge(graphdef, params)(x), params, x)
    return y, *pullback(cotangent)


@pytest.mark.parametrize("name", CASES)
def test_block_and_its_gradients(name, golden, equivalence):
    case, theirs = CASES[name], golden("blocks")
    block = build(case)
    FOREIGN.import_state_dict(block, arrays.state_dict(case["state"]))
    x, cotangent = (
        np.moveaxis(arrays.normal(key, case["shape"]), 1, -1) for key in (name, f"{name}/cotangent")
    )
    graphdef, params = nnx.split(block)
    y, d_params, d_x = value_and_cotangents(graphdef, params, x, cotangent)

    subject = "NonLocal" if case["block"].startswith("NonLocal") else type(block).__name__
    equivalence.arrays(subject, "output", name, np.moveaxis(y, -1, 1), theirs[f"{name}|y"])
    if f"{name}|dx" not in theirs:
        assert case["mode"] == "concatenation"  # mmcv cannot differentiate it
        return
    d_x = np.moveaxis(d_x, -1, 1)
    equivalence.arrays(subject, "input gradient", name, d_x, theirs[f"{name}|dx"], "gradient")
    gradients = FOREIGN.export_state_dict(
        nnx.merge(graphdef, d_params), spatial_axes=len(case["shape"]) - 2
    )
    expected = {key: theirs[f"{name}|grad/{key}"] for key in case["state"]}
    # In one unit for the case: a key's bias does not change a softmax, so that its gradient is
    # nothing but rounding on either side.
    scale = max(np.abs(gradient).max() for gradient in expected.values())
    for key, gradient in expected.items():
        case_name = f"{name} {key}"
        equivalence.arrays(
            subject, "parameter gradients", case_name, gradients[key], gradient, "gradient", scale
        )


@pytest.mark.parametrize("name", CASES)
def test_export_gives_back_what_was_imported_bitwise(name):
    case = CASES[name]
    block, given = build(case), arrays.state_dict(case["state"])
    FOREIGN.import_state_dict(block, given)
    exported = FOREIGN.export_state_dict(block, spatial_axes=len(case["shape"]) - 2)
    assert exported.keys() == given.keys()
    for key, array in given.items():
        np.testing.assert_array_equal(exported[key], array, strict=True)
