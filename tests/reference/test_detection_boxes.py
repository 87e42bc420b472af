"""Boxes of a detector, and its losses, against mmdetection 3.3.0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gcnet_jax.tasks.detection import losses
from gcnet_jax.tasks.detection.boxes.anchors import anchors, within_padding
from gcnet_jax.tasks.detection.boxes.assignment import assign
from gcnet_jax.tasks.detection.boxes.coder import BoxCoder
from gcnet_jax.tasks.detection.boxes.overlaps import intersection_over_area, intersection_over_union
from gcnet_jax.tasks.detection.boxes.suppression import suppress, suppress_by_class
from tests.reference import arrays, golden_files

SETTINGS = golden_files.cases("detection/det_ops")

overlaps = {"iou": jax.jit(intersection_over_union), "iof": jax.jit(intersection_over_area)}
suppress = jax.jit(suppress, static_argnames="limit")
suppress_by_class = jax.jit(suppress_by_class, static_argnames="limit")
assign = jax.jit(assign, static_argnames=("low_quality", "ignored_threshold"))
encode = jax.jit(BoxCoder.encode, static_argnums=0)
decode = jax.jit(BoxCoder.decode, static_argnums=0)


@pytest.fixture(scope="module")
def theirs(golden):
    return golden("detection/det_ops")


def names(theirs, start, quantity):
    """The cases with a quantity whose names begin so; a file without any tests nothing."""
    found = [key.split("|")[0] for key in theirs if key.endswith(f"|{quantity}")]
    found = [name for name in found if name.startswith(start)]
    assert found, (start, quantity)
    return found


def test_anchors_and_their_flags(theirs, equivalence):
    case = SETTINGS["anchors"]
    padded = jnp.array(case["pad_shape"])
    for i, (stride, shape) in enumerate(zip(case["strides"], case["featmap_sizes"], strict=True)):
        ours = anchors(tuple(shape), stride, scale=case["scales"][0], ratios=case["ratios"])
        equivalence.arrays(
            "detection boxes", "anchors", f"level {i}", ours, theirs[f"anchors|grid{i}"], "exact", 1
        )
        flags, expected = within_padding(tuple(shape), stride, padded), theirs[f"anchors|valid{i}"]
        equivalence.arrays(
            "detection boxes", "anchors in the image", f"level {i}", flags, expected, "exact", 1
        )


def test_overlaps(theirs, equivalence):
    for quantity, function in overlaps.items():
        ours, expected = function(theirs["iou|a"], theirs["iou|b"]), theirs[f"iou|{quantity}"]
        equivalence.arrays("detection boxes", "overlaps", quantity, ours, expected, "exact", 1)


def test_box_coder(theirs, equivalence):
    for name in names(theirs, "coder_", "priors"):
        case, priors = SETTINGS[name], theirs[f"{name}|priors"]
        coder = BoxCoder(tuple(case["means"]), tuple(case["stds"]), case["wh_ratio_clip"])
        size = jnp.array(case["max_shape_hw"])
        by_class = theirs[f"{name}|deltas5"].reshape(len(priors), -1, 4)
        decoded_by_class = decode(coder, priors[:, None], by_class, size)
        results = {
            "encoded": encode(coder, priors, theirs[f"{name}|gts"]),
            "decoded": decode(coder, priors, theirs[f"{name}|deltas"]),
            "decoded_clipped": decode(coder, priors, theirs[f"{name}|deltas"], size),
            "decoded5": decoded_by_class.reshape(len(priors), -1),
        }
        for quantity, ours in results.items():
            expected = theirs[f"{name}|{quantity}"]
            # Logarithms and exponentials differ in the last bit.
            equivalence.arrays("detection boxes", "coder", f"{name} {quantity}", ours, expected)


def kept(result):
    return np.asarray(result.indices)[np.asarray(result.valid)]


def test_suppression_keeps_the_same_boxes(theirs, equivalence):
    for name in names(theirs, "nms_", "keep"):
        threshold = SETTINGS.get(name, {}).get("iou_threshold") or float(name.split("_")[1])
        boxes, scores = theirs[f"{name}|boxes"], theirs[f"{name}|scores"]
        everywhere = jnp.ones(len(boxes), bool)
        groups = {"keep": None}
        if f"{name}|labels" in theirs:
            groups["batched_keep"] = theirs[f"{name}|labels"]
        for quantity, group in groups.items():
            result = suppress(
                boxes, scores, everywhere, threshold=threshold, limit=len(boxes), groups=group
            )
            ours, expected = kept(result), theirs[f"{name}|{quantity}"]
            equivalence.arrays(
                "detection boxes", "boxes kept", f"{name} {quantity}", ours, expected, "exact", 1
            )


def test_suppression_by_class_keeps_the_same_pairs(theirs, equivalence):
    case, scores = SETTINGS["multiclass_nms"], theirs["multiclass_nms|scores"]
    boxes = theirs["multiclass_nms|boxes"].reshape(len(scores), -1, 4)
    result = suppress_by_class(
        boxes,
        scores[:, :-1],
        jnp.ones(len(scores), bool),
        score_threshold=case["score_thr"],
        threshold=case["iou_threshold"],
        limit=case["max_num"],
    )
    ours, classes = kept(result), boxes.shape[1]
    found = np.concatenate([boxes.reshape(-1, 4)[ours], scores[:, :-1].reshape(-1, 1)[ours]], 1)
    for quantity, value in (("inds", ours), ("labels", ours % classes), ("dets", found)):
        expected = theirs[f"multiclass_nms|{quantity}"]
        equivalence.arrays(
            "detection boxes", "boxes kept", f"by class, {quantity}", value, expected, "exact", 1
        )


def test_assignment(theirs, equivalence):
    priors, objects = theirs["assign|priors"], theirs["assign|gts"]
    everywhere, objects_valid = jnp.ones(len(priors), bool), jnp.ones(len(objects), bool)
    ignored = jnp.array(SETTINGS["assign"]["ignore_boxes"])
    cases = SETTINGS["assign"]["cfgs"]
    for name in names(theirs, "assign_", "gt_inds"):
        case = name.removeprefix("assign_")
        if case == "nogt":
            case, objects_valid = next(iter(cases)), jnp.zeros(len(objects), bool)
        ours = assign(
            priors,
            everywhere,
            objects,
            objects_valid,
            positive=cases[case]["pos_iou_thr"],
            negative=cases[case]["neg_iou_thr"],
            minimum_positive=cases[case]["min_pos_iou"],
            low_quality=cases[case]["match_low_quality"],
            ignored=ignored,
            ignored_threshold=cases[case].get("ignore_iof_thr", -1.0),
        )
        objects_valid = jnp.ones(len(objects), bool)
        expected = theirs[f"{name}|gt_inds"]
        equivalence.arrays("detection boxes", "assignment", name, ours, expected, "exact", 1)


def average(elementwise, weights, divisor):
    return lambda x, *rest: jnp.sum(weights * elementwise(x, *rest)) / divisor


def test_losses_of_classes(theirs, equivalence):
    x, labels = theirs["loss_softmax|x"], theirs["loss_softmax|y"].astype(int)
    weights = theirs["loss_softmax|w"]
    softmax = average(losses.cross_entropy, weights, np.count_nonzero(weights))
    compare(theirs, equivalence, "loss_softmax", softmax, x, labels)

    x, is_object = theirs["loss_sigmoid|x"][:, 0], theirs["loss_sigmoid|y"] == 0
    divisor = float(SETTINGS["loss_sigmoid"].split("avg_factor ")[1].split(";")[0])
    sigmoid = average(losses.binary_cross_entropy, theirs["loss_sigmoid|w"], divisor)
    compare(theirs, equivalence, "loss_sigmoid", sigmoid, x, is_object.astype(np.float32))


def test_losses_of_boxes(theirs, equivalence):
    x, targets, weights = (theirs[f"loss_box|{key}"] for key in ("x", "t", "w"))
    divisor = float(SETTINGS["loss_box"].split("avg_factor ")[1].split(":")[0])
    for name in names(theirs, "loss_", "loss"):
        if name.startswith("loss_l1"):
            compare(
                theirs, equivalence, name, average(losses.absolute, weights, divisor), x, targets
            )
        if name.startswith("loss_smooth_l1_"):
            beta = 1 / float(name.rsplit("_", 1)[1])
            function = average(
                lambda x, t, beta=beta: losses.smooth_absolute(x, t, beta=beta), weights, divisor
            )
            compare(theirs, equivalence, name, function, x, targets)


def test_loss_of_masks(theirs, equivalence):
    labels = theirs["loss_mask|labels"]
    shape = (len(labels), *theirs["loss_mask|dx"].shape[1:])
    x = arrays.normal("loss/mask", shape)
    targets = np.unpackbits(theirs["loss_mask|t"], axis=-1)[..., : shape[-1]]

    def function(x):
        own = x[jnp.arange(len(labels)), labels]
        return jnp.mean(losses.binary_cross_entropy(own, targets.astype(np.float32)))

    value, gradient = jax.value_and_grad(function)(x)
    equivalence.arrays("detection losses", "value", "mask", value[None], theirs["loss_mask|loss"])
    equivalence.arrays(
        "detection losses", "gradient", "mask", gradient[::2], theirs["loss_mask|dx"], "gradient"
    )


def compare(theirs, equivalence, name, function, x, targets):
    value, gradient = jax.value_and_grad(function)(x, targets)
    expected = theirs[f"{name}|dx"].reshape(x.shape)
    equivalence.arrays("detection losses", "value", name, value, theirs[f"{name}|loss"])
    equivalence.arrays("detection losses", "gradient", name, gradient, expected, "gradient")
