"""Six narrow detectors from mmdetection's configs: what they find, and what they are trained by."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gcnet_jax.models import merge, split_for_evaluation
from gcnet_jax.tasks.detection.detector import Detections
from gcnet_jax.tasks.detection.detector_losses import Objects, detector_losses
from gcnet_jax.tasks.detection.proposals import candidates
from gcnet_jax.tasks.detection.regions.levels import region_levels
from gcnet_jax.tasks.detection.regions.pasting import paste_masks
from gcnet_jax.tasks.detection.weights import export_state_dict
from tests.reference import arrays, golden_files
from tests.reference.equivalence import every_day
from tests.reference.narrow import narrow_detector

CASES = golden_files.cases("detection/detectors")
EVERY_DAY = (
    "mask-rcnn_r50-gcb-r16-c3-c5_fpn_1x_coco",
    "cascade-mask-rcnn_x101-32x4d-syncbn-dconv-c3-c5-r4-gcb-c3-c5_fpn_1x_coco",
)


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

    def has(self, key):
        return f"{self.name}|{key}" in self.stored

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
        """The objects of one image or both, padded to three a picture; masks see the docs."""
        given = [self.layout["gt"], self.layout["gt2"]][:count]
        most = max(len(image["labels"]) for image in given)
        boxes, classes = np.zeros((count, most, 4), np.float32), np.zeros((count, most), int)
        valid = np.zeros((count, most), bool)
        for index, image in enumerate(given):
            here = len(image["labels"])
            boxes[index, :here], classes[index, :here] = image["bboxes"], image["labels"]
            valid[index, :here] = True
        return boxes, classes, valid


@pytest.fixture(scope="module", params=every_day(CASES, EVERY_DAY))
def case(request, golden):
    return Case(request.param, golden("detection/detectors"))


@functools.cache
def network(name):
    return narrow_detector(name, CASES[name])


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
            (0 <= v) & (v <= 1) & (abs(u - 0.5) <= v / 2),
            (0.2 <= radius) & (radius <= 1),
        )[index]
    return masks


def test_it_finds_what_the_reference_finds(case, equivalence):
    graphdef, variables = split_for_evaluation(network(case.name))
    images, sizes = case.images(1)
    fixed = np.array([case.layout["ctx"]["fixed_rois"]], np.float32)[..., 1:]

    @jax.jit
    def everything(variables, images, sizes):
        model = merge(graphdef, variables)
        pyramid = model.pyramid(images, sizes)
        levels = model.rpn(pyramid)
        of_image = jax.tree.map(lambda x: x[0], levels)
        found = candidates(
            of_image, model.strides, sizes[0], jnp.array(images.shape[1:3]), model.settings.proposals
        )
        proposals = model.propose(levels, sizes, model.settings.proposals)
        outputs = model.look(pyramid, proposals, sizes)
        aligned = [model.features(pyramid, fixed, bins) for bins in (7, 14)]
        first = [
            head(model.features(pyramid, regions[:, :3], 14))
            for head, regions in zip(model.mask_heads, outputs.regions, strict=True)
        ]
        own = model.features(pyramid, proposals.boxes[:, :3], 7)
        return found, proposals, outputs, aligned, first, own, model(images, sizes)

    found, proposals, outputs, aligned, first, own, detections = everything(
        variables, images, sizes
    )

    def compare(quantity, ours, key, *, of=None):
        """`of`: what the stored value has in front."""
        ours, theirs = np.asarray(ours), case[key]
        equivalence.arrays("detector", quantity, case.name, ours, theirs)

    # Candidates are compared as sets: near ties may swap.
    kept = np.asarray(found.valid)
    ours = np.column_stack([found.levels, found.scores, found.boxes])[kept]
    theirs = np.column_stack([case["rpn_pre_level"], case["rpn_pre_scores"], case["rpn_pre_boxes"]])
    assert len(ours) == len(theirs)
    ours, theirs = (x[np.lexsort((x[:, 2].round(2), x[:, 1].round(5), x[:, 0]))] for x in (ours, theirs))
    equivalence.arrays("detector", "candidates' scores", case.name, ours[:, 1], theirs[:, 1])

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
        compare("mask logits", channels_first(first[stage])[: len(stored)], f"mask_logits{suffix}")

    count = case.layout["n_detections"]
    assert np.asarray(detections.valid[0]).sum() == count
    compare("detections", detections.boxes[0, :count], "det_boxes")
    compare("detections' scores", detections.scores[0, :count], "det_scores")
    np.testing.assert_array_equal(detections.classes[0, :count], case["det_labels"])
    compare("detections' masks", detections.masks[0, :count], "det_mask_prob")


@pytest.mark.parametrize("images", [1, 2])
def test_targets_and_losses_are_the_references(case, images, equivalence):
    model = network(case.name)
    model.reference_padding = True
    model.train()
    losses, targets = loss_of(case, images)

    prefix = "train/" if images == 1 else "train2/"
    names = {
        "rpn_class_loss": "loss_rpn_cls",
        "rpn_box_loss": "loss_rpn_bbox",
    }
    for stage in range(case.stages):
        ours, theirs = (f"stage{stage}_", f"s{stage}.") if case.is_cascade else ("", "")
        for name, of_reference in (
            ("class_loss", "loss_cls"),
            ("box_loss", "loss_bbox"),
            ("mask_loss", "loss_mask"),
            ("class_accuracy", "acc"),
        ):
            names[ours + name] = theirs + of_reference
    assert losses.keys() == names.keys()
    for name, of_reference in names.items():
        scale = 100 if name.endswith("accuracy") else 1
        ours, theirs = scale * losses[name], case[prefix + of_reference]
        equivalence.arrays("detector, training", name, case.name, ours, theirs)
