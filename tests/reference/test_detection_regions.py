"""Operators that read a map at places of their own, against those of mmcv and mmdetection."""

import jax
import numpy as np
import pytest

from gcnet_jax.ops.deformable_convolution import deformable_convolution
from tests.reference import arrays
from tests.reference.conftest import layouts

CASES = layouts("detection/det_ops")


def channels_last(x):
    return np.moveaxis(x, 1, -1)


@pytest.mark.parametrize("name", ["dcn_plain", "dcn_stride2_groups4", "dcn_dil2_dg2"])
def test_deformable_convolution_and_its_gradients(name, golden, equivalence):
    case, theirs = CASES[name], golden("detection/det_ops")
    keys = "stride", "dilation", "padding", "groups", "deform_groups"
    options = {key: case[key] for key in keys if key in case}
    short = f"dcn/{name.removeprefix('dcn_')}"
    x = arrays.normal(f"{short}/x", case["x_shape"])
    offsets = 2 * arrays.normal(f"{short}/offset", theirs[f"{name}|doffset"].shape)
    kernel = arrays.weight("weight", case["state"]["weight"]).transpose(2, 3, 1, 0)
    cotangent = arrays.normal(f"{short}/cotangent", theirs[f"{name}|y"].shape)

    y, transposed = jax.vjp(
        lambda *inputs: deformable_convolution(*inputs, **options),
        channels_last(x),
        channels_last(offsets),
        kernel,
    )
    dx, doffset, dkernel = transposed(channels_last(cotangent))
    subject = "deformable convolution"
    for quantity, ours, key in [
        ("output", np.moveaxis(y, -1, 1), "y"),
        ("input gradient", np.moveaxis(dx, -1, 1), "dx"),
        ("gradient by offsets", np.moveaxis(doffset, -1, 1), "doffset"),
        ("kernel gradient", np.transpose(dkernel, (3, 2, 0, 1)), "dweight"),
    ]:
        kind = "output" if key == "y" else "gradient"
        equivalence.arrays(subject, quantity, name, ours, theirs[f"{name}|{key}"], kind)
