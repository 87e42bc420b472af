"""Six narrow detectors from mmdetection's configs: what they find, and what they are trained by."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gcnet_jax.models import merge, split_for_evaluation
from gcnet_jax.tasks.detection.detector import Detections
from gcnet_jax.tasks.detection.detector_losses import (
    DetectorTargets,
    detector_losses,
)
from gcnet_jax.tasks.detection.objects import Objects
from gcnet_jax.tasks.detection.proposals import candidates
from gcnet_jax.tasks.detection.regions.levels import region_levels
from gcnet_jax.tasks.detection.regions.pasting_on_host import paste_on_host
from gcnet_jax.tasks.detection.weights import FOREIGN
from tests.reference import arrays, golden_files
from tests.reference.equivalence import TOLERANCES, every_day
from tests.reference.narrow_detectors import CASES, EVERY_DAY, narrow_detector

SPREADS = 5
"""A gradient may differ by so many times what noise of 1e-6 does to the reference's own."""


LARGEST_SPREAD = 0.1
"""But never by more than this share."""
SPREADS_OF_ENTRIES, LARGEST_SPREAD_OF_ENTRIES = 50, 0.02
"""The same for the single entries of a gradient; the stored noise is that of its norm, which may be
small by chance: the case's median counts at least."""


class Case:
    """A stored case: its network, inputs and outputs."""

    def __init__(self, name, stored):
        self.name, self.layout = name, CASES[name]
        self.stored = stored
        self.stages = len(self.layout["train_cfg"]["rcnn"]) if self.is_cascade else 1

    @property
    def is_cascade(self):
        return isinstance(self.layout["train_cfg"]["rcnn"], list)

    def __getitem__(self, key):
        return self.stored[f"{self.name}|{key}"]

    def keys(self, prefix):
        start = f"{self.name}|"
        return [k.removeprefix(start) for k in self.stored if k.startswith(start + prefix)]

    def images(self, count):
        """One image, or both of the batch, padded to one size; with the sizes proper."""
        height, width = self.layout["image"]["padded"]
        names = [self.layout["input"], f"{self.layout['input']}/second"]
        sizes = [self.layout["image"]["img_shape"], self.layout["second_image"]["img_shape"]]
        images = np.zeros((count, height, width, 3), np.float32)
        for image, name, size in zip(images, names, sizes, strict=False):
            drawn = arrays.normal(name, (1, 3, *size))[0]
            image[: size[0], : size[1]] = np.moveaxis(drawn, 0, -1)
        return images, np.array(sizes[:count])

    def objects(self, count):
        """Boxes, classes and validity of the objects of one image or both."""
        given = [self.layout["gt"], self.layout["gt2"]][:count]
        most = max(len(image["labels"]) for image in given)
        boxes, classes = np.zeros((count, most, 4), np.float32), np.zeros((count, most), int)
        valid = np.zeros((count, most), bool)
        for index, image in enumerate(given):
            here = len(image["labels"])
            boxes[index, :here], classes[index, :here] = image["bboxes"], image["labels"]
            valid[index, :here] = True
        return boxes, classes, valid


@pytest.fixture(scope="module", params=every_day(CASES, EVERY_DAY, pytest.mark.campaign))
def case(request, golden):
    return Case(request.param, golden("detection/detectors"))


def channels_first(x):
    return np.moveaxis(np.asarray(x), -1, 1)


def drawn_masks(boxes, size):
    """The masks that the reference was given: an ellipse, a triangle and a ring in three boxes."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    masks = np.zeros((len(boxes), *size), bool)
    for index, (left, top, right, bottom) in enumerate(boxes):
        if right == left:
            continue
        u, v = (x - left) / (right - left), (y - top) / (bottom - top)
        radius = (2 * u - 1) ** 2 + (2 * v - 1) ** 2
        masks[index] = (
            radius <= 1,
            (v >= 0) & (v <= 1) & (abs(u - 0.5) <= v / 2),
            (radius >= 0.2) & (radius <= 1),
        )[index]
    return masks


def without_ties(ours, theirs, close=1e-5):
    """The boxes of candidates whose place in the order does not hang on rounding."""
    nearest = np.full(len(theirs), np.inf)
    differences = np.where(np.diff(theirs[:, 0]) == 0, -np.diff(theirs[:, 1]), np.inf)
    nearest[:-1] = differences
    nearest[1:] = np.minimum(nearest[1:], differences)
    clear = nearest > close
    assert clear.mean() > 0.5
    return ours[clear, 2:], theirs[clear, 2:]


def test_it_finds_what_the_reference_finds(case, equivalence):
    graphdef, variables = split_for_evaluation(narrow_detector(case.name))
    images, sizes = case.images(1)
    fixed = np.array([case.layout["ctx"]["fixed_rois"]], np.float32)[..., 1:]

    @jax.jit
    def everything(variables, images, sizes):
        model = merge(graphdef, variables)
        pyramid = model.pyramid(images, sizes)
        levels = model.rpn(pyramid)
        of_image = jax.tree.map(lambda x: x[0], levels)
        found = candidates(
            of_image,
            model.strides,
            sizes[0],
            jnp.array(images.shape[1:3]),
            model.settings.proposals,
        )
        proposals = model.propose(levels, sizes, model.settings.proposals)
        outputs = model.look(pyramid, proposals, sizes)
        aligned = [model.features(pyramid, fixed, bins) for bins in (7, 14)]
        first = [
            head(model.features(pyramid, proposals.boxes[:, :3], 14)) for head in model.mask_heads
        ]
        own = model.features(pyramid, proposals.boxes[:, :3], 7)
        detections = model.detect(outputs, proposals.valid, sizes)
        masks = model.masks(pyramid, detections[0], detections[2])
        return found, proposals, outputs, aligned, first, own, Detections(*detections, masks)

    found, proposals, outputs, aligned, first, own, detections = everything(
        variables, images, sizes
    )

    def compare(quantity, ours, theirs):
        theirs = case[theirs] if isinstance(theirs, str) else theirs
        equivalence.arrays("detector", quantity, case.name, ours, theirs)

    # Within a level by falling score: the reference leaves small levels as they lie.
    ours = np.column_stack([found.levels, found.scores, found.boxes])
    theirs = np.column_stack([case[f"rpn_pre_{name}"] for name in ("level", "scores", "boxes")])
    ours, theirs = (rows[np.lexsort((-rows[:, 1], rows[:, 0]))] for rows in (ours, theirs))
    np.testing.assert_array_equal(ours[:, 0], theirs[:, 0])
    compare("candidates' scores", ours[:, 1], theirs[:, 1])
    compare("candidates", *without_ties(ours, theirs))

    count = case.layout["n_proposals"]
    assert np.asarray(proposals.valid[0]).sum() == count
    compare("proposals", proposals.boxes[0, :count], "proposals")
    compare("proposals' scores", proposals.scores[0, :count], "proposal_scores")

    np.testing.assert_array_equal(region_levels(jnp.asarray(fixed[0])), case["roi_level"])
    compare("features of 7x7", channels_first(aligned[0]), "roi7")
    compare("features of 14x14", channels_first(aligned[1])[:, ::2], "roi14")
    compare("features of proposals", channels_first(own), "roi_feats")

    for stage in range(case.stages):
        suffix = str(stage) if case.is_cascade else ""
        if case.is_cascade:
            compare("regions of a stage", outputs.regions[stage][0, :count], f"rois{suffix}")
        compare("class logits", outputs.logits[stage][0, :count], f"cls{suffix}")
        deltas = outputs.deltas[stage][0, :count]
        compare("box deltas", deltas.reshape(count, -1), f"reg{suffix}")
        stored = case[f"mask_logits{suffix}"]
        compare("mask logits", channels_first(first[stage])[: len(stored)], stored)

    count = case.layout["n_detections"]
    assert np.asarray(detections.valid[0]).sum() == count
    compare("detections", detections.boxes[0, :count], "det_boxes")
    compare("detections' scores", detections.scores[0, :count], "det_scores")
    np.testing.assert_array_equal(detections.classes[0, :count], case["det_labels"])
    compare("detections' masks", detections.masks[0, :count], "det_mask_prob")
    check_pasted_masks(case, detections)


def check_pasted_masks(case, detections):
    """The masks of the best detections in the image as the network saw it, and as it was before."""
    image = case.layout["image"]
    boxes, masks = np.asarray(detections.boxes[0]), np.asarray(detections.masks[0])
    factors = np.tile(np.float32(image["scale_factor"]), 2)
    for key, boxes_there, shape in (
        ("final_masks", boxes / factors, image["ori_shape"]),
        ("final_masks_net", boxes, image["img_shape"]),
    ):
        stored = np.unpackbits(case[key], axis=-1)[..., : shape[1]].astype(bool)
        for index, theirs in enumerate(stored):
            ours = paste_on_host(masks[index], boxes_there[index], tuple(shape))
            # A pixel at the threshold falls on either side.
            assert (ours != theirs).sum() <= max(4, 1e-4 * theirs.size), (key, index)


class Training(NamedTuple):
    """What one step of training computes."""

    losses: dict
    targets: DetectorTargets
    gradients: nnx.State | None
    statistics: nnx.State


def training(case, count):
    """Losses for the batch of one image or of both; gradients of the first alone."""
    model = nnx.clone(narrow_detector(case.name, reference_padding=True))
    model.train()
    graphdef, params, statistics = nnx.split(model, nnx.Param, ...)
    images, sizes = case.images(count)
    boxes, classes, valid = case.objects(count)
    masks = np.stack([drawn_masks(each, images.shape[1:3]) for each in boxes])
    objects = Objects(boxes, classes, valid, np.packbits(masks, axis=-1))

    def total(params, statistics, images, sizes, objects):
        model = nnx.merge(graphdef, params, statistics, copy=True)
        losses, targets = detector_losses(model, images, sizes, objects, nnx.Rngs(0))
        of_all = sum(value for name, value in losses.items() if name.endswith("loss"))
        return of_all, (losses, targets, nnx.state(model, nnx.BatchStat))

    arguments = params, statistics, images, sizes, objects
    if count > 1:
        _, (losses, targets, moved) = jax.jit(total)(*arguments)
        return Training(losses, targets, None, moved)
    run = jax.jit(jax.value_and_grad(total, has_aux=True))
    (_, auxiliary), gradients = run(*arguments)
    jax.tree.map(np.testing.assert_array_equal, run(*arguments), ((_, auxiliary), gradients))
    losses, targets, moved = auxiliary
    return Training(losses, targets, gradients, moved)


def marks(name, count):
    """Gradients, which are of one image, take a minute, and minutes of a cascade."""
    if golden_files.are_given() or (name, count) == (EVERY_DAY[0], 1):
        return ()
    return pytest.mark.slow if count == 2 and name in EVERY_DAY else pytest.mark.campaign


@pytest.mark.parametrize(
    ("name", "count"),
    [pytest.param(name, count, marks=marks(name, count)) for name in CASES for count in (1, 2)],
)
@pytest.mark.timeout(1800)
def test_targets_losses_and_gradients_are_the_references(name, count, golden, equivalence):
    case = Case(name, golden("detection/detectors"))
    step = training(case, count)
    prefix, every = ("train/", 1) if count == 1 else ("train2/", 4)
    objects, objects_classes, _ = case.objects(count)

    def compare(quantity, ours, key, scale=None):
        theirs = case[prefix + key]
        equivalence.arrays("detector, training", quantity, case.name, ours, theirs, scale=scale)

    def equal(ours, key):
        np.testing.assert_array_equal(ours, case[prefix + key], key)

    anchors = step.targets.anchors
    sampled = np.unpackbits(case[f"{prefix}rpn_label_weights"], axis=-1)
    np.testing.assert_array_equal(anchors.sampled, sampled[:, : anchors.sampled.shape[1]])
    is_positive = (case[f"{prefix}rpn_labels"] == 0) & np.asarray(anchors.sampled)
    np.testing.assert_array_equal(anchors.positive, is_positive)
    assert np.asarray(anchors.total).sum() == case[f"{prefix}rpn_avg_factor"]
    compare("anchors' targets", np.asarray(anchors.deltas)[is_positive], "rpn_targets_pos")

    def compare_rows(quantity, ours, key):
        """Of rows in an order that near ties decide: a stored row may be a neighbour's."""
        theirs = case[prefix + key]
        rows = np.clip(every * np.arange(len(theirs))[:, None] + (0, -1, 1), 0, len(ours) - 1)
        differences = abs(ours[rows] - theirs[:, None]).reshape(*rows.shape, -1).max(-1)
        nearest = ours[rows[np.arange(len(rows)), differences.argmin(1)]]
        compare(quantity, nearest, key)

    there = np.asarray(step.targets.proposals.valid)
    for quantity, ours, key in (
        ("proposals", step.targets.proposals.boxes, "train_proposals"),
        ("proposals' scores", step.targets.proposals.scores, "train_proposal_scores"),
    ):
        compare_rows(quantity, np.asarray(ours)[there], key)

    for stage, regions in enumerate(step.targets.regions):
        suffix = str(stage) if case.is_cascade else ""
        regions = jax.tree.map(np.asarray, regions)
        equal(regions.valid.sum(-1), f"rois_per_img{suffix}")
        image, row = np.nonzero(regions.valid)
        mine = regions.objects[image, row]
        positive = regions.positive[image, row]
        labels = np.where(positive, objects_classes[image, mine], case.layout["num_classes"])
        equal(labels, f"roi_labels{suffix}")
        boxes = regions.boxes[image, row]
        compare_rows("regions", boxes, f"rois{suffix}")
        coder = step_coder(case, stage)
        targets = coder.encode(boxes[positive], objects[image, mine][positive])
        # One is a shift by as much as the region is wide.
        compare("regions' targets", targets, f"roi_targets_pos{suffix}", scale=1 / min(coder.stds))
        masks = np.asarray(step.targets.masks[stage])
        masks = masks[regions.positive[:, : masks.shape[1]]]
        equal(masks.sum((1, 2)), f"mask_targets{suffix}_sum")
        stored = case[f"{prefix}mask_targets{suffix}"]
        equal(np.packbits(masks[: len(stored)], axis=-1), f"mask_targets{suffix}")

    names = {"rpn_class_loss": "loss_rpn_cls", "rpn_box_loss": "loss_rpn_bbox"}
    for stage in range(case.stages):
        ours, theirs = (f"stage{stage}_", f"s{stage}.") if case.is_cascade else ("", "")
        for name, of_reference in (
            ("class_loss", "loss_cls"),
            ("box_loss", "loss_bbox"),
            ("mask_loss", "loss_mask"),
            ("class_accuracy", "acc"),
        ):
            names[ours + name] = theirs + of_reference
    assert step.losses.keys() == names.keys()
    # In one unit for the case: losses of few boxes are small, and rounding of the sums is not.
    largest = max(
        case[prefix + of_reference] for of_reference in names.values() if "loss" in of_reference
    )
    for name, of_reference in names.items():
        percent = 100 if name.endswith("accuracy") else 1
        ours, theirs = percent * step.losses[name], case[prefix + of_reference]
        quantity = name.split("_", 1)[1] if case.is_cascade and "stage" in name else name
        scale = 100 if name.endswith("accuracy") else largest
        equivalence.arrays(
            "detector, training", quantity, f"{case.name} {name}", ours, theirs, scale=scale
        )
    if count == 1:
        check_gradients(case, step, equivalence)


def step_coder(case, stage):
    return narrow_detector(case.name).settings.stages[stage].coder


def check_gradients(case, step, equivalence):
    graphdef, _, statistics = nnx.split(narrow_detector(case.name), nnx.Param, ...)
    as_model = nnx.merge(graphdef, step.gradients, statistics)
    gradients = FOREIGN.export_state_dict(as_model)

    # What is frozen has no gradient, and nothing else has none.
    frozen = set(case.layout["frozen"]) | set(case.layout["no_grad"])
    names = case.layout["gradnorm_names"]
    assert frozen.isdisjoint(names)
    for name in frozen:
        assert not gradients[name].any(), name

    # Each norm within rounding, or within what noise of 1e-6 does to the reference's own.
    nothing, norms, spreads = (
        set(case.layout["zero_gradient"]),
        case["gradnorms"],
        case["gradnorm_spread"],
    )
    largest = max(norms)
    for name, theirs, spread in zip(names, norms, spreads, strict=True):
        if name in nothing:
            assert np.linalg.norm(gradients[name]) < 1e-4 * largest, name
            continue
        ours = np.linalg.norm(gradients[name].astype(np.float64))
        allowed = max(TOLERANCES["gradient"][0], min(SPREADS * spread, LARGEST_SPREAD))
        beyond = max(abs(ours / theirs - 1) - allowed, 0)
        equivalence.arrays(
            "detector, training",
            "gradient norms, beyond noise",
            f"{case.name} {name}",
            beyond,
            0.0,
            "gradient",
            1,
        )
    spread_of = dict(zip(names, spreads, strict=True))
    for key in case.keys("grad/"):
        name = key.removeprefix("grad/")
        ours, theirs = gradients[name], case[key]
        if "channel_add_conv" in name and len(ours) != len(theirs):
            ours = ours[::4]
        spread = max(spread_of[name], np.median(spreads))
        allowed = min(SPREADS_OF_ENTRIES * spread, LARGEST_SPREAD_OF_ENTRIES)
        largest = max(np.abs(theirs).max(), 1e-12)  # nothing reads P5: its bias has no gradient
        beyond = max(np.abs(ours - theirs).max() / largest - allowed, 0)
        equivalence.arrays(
            "detector, training",
            "gradients, beyond noise",
            f"{case.name} {name}",
            beyond,
            0.0,
            "gradient",
            1,
        )

    moved = FOREIGN.export_state_dict(nnx.merge(graphdef, step.gradients, step.statistics))
    before = FOREIGN.export_state_dict(narrow_detector(case.name))
    buffers = [name for name in moved if name.endswith(("running_mean", "running_var"))]
    changed = [name for name in buffers if (moved[name] != before[name]).any()]
    # The reference also counts the batches.
    assert len(changed) * 3 == case.layout["moved_by_training_forward"] * 2
    for key in case.keys("after/"):
        name = key.removeprefix("after/")
        equivalence.arrays(
            "detector, training",
            "running statistics",
            f"{case.name} {name}",
            moved[name],
            case[key],
        )
