"""Operators that read a map at places of their own, against those of mmcv and mmdetection."""

import jax
import numpy as np
import pytest

from gcnet_jax.ops.deformable_convolution import deformable_convolution
from gcnet_jax.tasks.detection.regions.levels import region_levels
from gcnet_jax.tasks.detection.regions.mask_targets import mask_targets
from gcnet_jax.tasks.detection.regions.pasting import paste
from gcnet_jax.tasks.detection.regions.pasting_on_host import paste_on_host
from gcnet_jax.tasks.detection.regions.roi_align import roi_align
from tests.reference import arrays, golden_files

CASES = golden_files.cases("detection/det_ops")
ALIGNED = [
    key.removesuffix("|y")
    for key in golden_files.keys("detection/det_ops")
    if key.startswith("roialign_") and key.endswith("|y")
]


def channels_last(x):
    return np.moveaxis(x, 1, -1)


def unpacked(bits, width):
    return np.unpackbits(bits, axis=-1)[..., :width].astype(bool)


@pytest.mark.parametrize("name", [name for name in CASES if "offset" in CASES[name]])
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


@pytest.mark.parametrize("name", ALIGNED)
def test_roi_align_and_its_gradient(name, golden, equivalence):
    theirs = golden("detection/det_ops")
    bins, ratio = (int(number) for number in name.removeprefix("roialign_").split("_sr"))
    rois = theirs["roialign|rois"]
    images = rois[:, 0].astype(np.int32)
    stride = round(1 / CASES["roialign"]["spatial_scale"])

    @jax.jit
    def value_and_gradient(x, cotangent):
        def apply(x):
            return roi_align(
                (x,),
                rois[:, 1:],
                images,
                0 * images,
                strides=(stride,),
                bins=bins,
                sampling_ratio=ratio,
            )

        y, transposed = jax.vjp(apply, x)
        return y, transposed(cotangent)[0]

    x = arrays.normal("roialign/x", theirs[f"{name}|dx"].shape)
    cotangent = arrays.normal(f"roialign/{bins}/{ratio}/cotangent", theirs[f"{name}|y"].shape)
    y, dx = value_and_gradient(channels_last(x), channels_last(cotangent))
    y, dx = (np.moveaxis(array, -1, 1) for array in (y, dx))
    equivalence.arrays("RoIAlign", "output", name, y, theirs[f"{name}|y"])
    equivalence.arrays("RoIAlign", "input gradient", name, dx, theirs[f"{name}|dx"], "gradient")


def test_levels_of_boxes(golden):
    theirs = golden("detection/det_ops")
    np.testing.assert_array_equal(region_levels(theirs["levels|boxes"]), theirs["levels|level"])


def test_targets_of_masks(golden):
    theirs, case = golden("detection/det_ops"), CASES["mask_target"]
    ours = mask_targets(
        theirs["mask_target|proposals"],
        theirs["mask_target|masks"],
        theirs["mask_target|inds"],
        np.array(case["size_hw"]),
        bins=case["mask_size"],
    )
    expected = unpacked(theirs["mask_target|target"], case["mask_size"])
    np.testing.assert_array_equal(ours, expected)


def test_masks_pasted_into_an_image(golden):
    theirs, case = golden("detection/det_ops"), CASES["paste"]
    height, width = case["size_hw"]
    probabilities, boxes = theirs["paste|prob"], theirs["paste|boxes"]
    expected = unpacked(theirs["paste|mask"], width)
    ours = paste(probabilities, boxes, (height, width), threshold=case["thr"])
    np.testing.assert_array_equal(ours, expected)
    on_host = [
        paste_on_host(*pair, (height, width), threshold=case["thr"])
        for pair in zip(probabilities, boxes, strict=True)
    ]
    np.testing.assert_array_equal(on_host, expected)


@pytest.mark.parametrize("threshold", [0.2, 0.8])
def test_probabilities_pasted_into_an_image(threshold, golden):
    theirs = golden("detection/det_ops")
    soft, size = theirs["paste|soft"], tuple(CASES["paste"]["size_hw"])
    ours = paste(theirs["paste|prob"], theirs["paste|boxes"], size, threshold=threshold)
    clear = np.abs(soft - threshold) > 1e-5
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(ours[:, ::2, ::2][clear], (soft >= threshold)[clear])
