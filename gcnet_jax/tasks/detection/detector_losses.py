"""The losses of a detector over a batch of images with their objects (mmdetection's `loss`)."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Integer, UInt8

from gcnet_jax.errors import InputError
from gcnet_jax.parallel import on_own_images
from gcnet_jax.tasks.detection.detector import MASK_BINS, Detector, padded
from gcnet_jax.tasks.detection.head_losses import box_losses, mask_loss
from gcnet_jax.tasks.detection.objects import Objects
from gcnet_jax.tasks.detection.proposals import (
    AnchorTargets,
    Level,
    Proposals,
    anchor_targets,
    rpn_losses,
)
from gcnet_jax.tasks.detection.region_sampling import Regions, sample_regions
from gcnet_jax.tasks.detection.regions.mask_targets import mask_targets


class DetectorTargets(NamedTuple):
    """What the outputs of a detector were compared with.

    Attributes:
        anchors: of the region proposal network.
        proposals: that the first stage was trained with.
        regions: of each stage.
        masks: of the positive regions of each stage, which are the first; none without masks.
    """

    anchors: AnchorTargets
    proposals: Proposals
    regions: list[Regions]
    masks: list[Bool[Array, "b n side side"]]


def detector_losses(
    model: Detector,
    images: Float[Array, "b h w 3"],
    sizes: Integer[Array, "b 2"],
    objects: Objects,
    rngs: nnx.Rngs,
) -> tuple[dict[str, Float[Array, ""]], DetectorTargets]:
    """The losses by name, each with its weight, and the accuracies of the classes.

    Args:
        model: in training mode.
        images: normalised RGB, zero around images that are smaller than the array.
        sizes: height and width of each.
        objects: in them.
        rngs: its stream `sampling` decides which anchors and regions are compared.

    Returns:
        The losses, whose names end in `loss`, with accuracies beside them; and what was compared.

    Raises:
        InputError: images or sizes are not what the detector takes, the arrays of the objects have
            other shapes, or there are no masks for a detector of masks.
    """
    settings = model.settings
    sizes = model.check(images, sizes)
    _check_objects(model, images, objects)
    pyramid = model.pyramid(images, sizes)
    levels = model.rpn(pyramid)
    metrics, anchors = anchor_losses(model, levels, sizes, objects, rngs)

    proposals = jax.lax.stop_gradient(model.propose(levels, sizes, settings.training_proposals))
    targets = DetectorTargets(anchors, proposals, [], [])
    boxes, valid = proposals.boxes, proposals.valid
    for index, stage in enumerate(settings.stages):
        regions = sampled_regions(model, index, boxes, valid, objects, rngs)
        targets.regions.append(regions)
        logits, deltas = model.say(index, pyramid, regions.boxes)
        of_stage = box_head_losses(model, index, logits, deltas, regions, objects)
        if model.mask_heads and objects.masks is not None:
            seen = model.seen_sizes(sizes, (images.shape[1], images.shape[2]))
            positive = positive_regions(model, regions)
            features = model.features(pyramid, positive.boxes, MASK_BINS)
            loss, masks = mask_head_loss(
                model, index, features, positive, objects.classes, objects.masks, seen
            )
            of_stage["mask_loss"] = loss
            targets.masks.append(masks)
        prefix = f"stage{index}_" if len(settings.stages) > 1 else ""
        for name, value in of_stage.items():
            metrics[prefix + name] = value * (stage.weight if name.endswith("loss") else 1)
        boxes = jax.lax.stop_gradient(model.refine(index, regions.boxes, logits, deltas, sizes))
        valid = regions.valid & ~regions.are_objects
    return metrics, targets


def _check_objects(model: Detector, images: Float[Array, "b h w 3"], objects: Objects) -> None:
    batch, height, width = images.shape[:3]
    capacity = objects.boxes.shape[1]
    if capacity < 1:
        raise InputError(
            "there is room for 0 objects in an image; expected a capacity of 1 or more"
        )
    expected = {
        "boxes": (batch, capacity, 4),
        "classes": (batch, capacity),
        "valid": (batch, capacity),
        "masks": (batch, capacity, height, width // 8),
    }
    for name, shape in expected.items():
        array = getattr(objects, name)
        if array is None and model.mask_heads:
            raise InputError(
                "the objects have no masks, and the detector has mask heads to train; expected "
                "masks, or a network with model.mask_head.enabled=False"
            )
        if array is not None and array.shape != shape:
            raise InputError(f"objects.{name} has the shape {array.shape}; expected {shape}")
    if objects.masks is not None and objects.masks.dtype != jnp.uint8:
        raise InputError(
            f"objects.masks is of {objects.masks.dtype}; expected packed bits in uint8"
        )


def anchor_losses(
    model: Detector,
    levels: list[Level],
    sizes: Integer[Array, "b 2"],
    objects: Objects,
    rngs: nnx.Rngs,
) -> tuple[dict[str, Float[Array, ""]], AnchorTargets]:
    """The losses of the region proposal network by name, and what its levels are compared with.

    Arguments as of `detector_losses`.
    """
    settings = model.settings.rpn_training
    shapes = [(level.logits.shape[1], level.logits.shape[2]) for level in levels]
    count = sum(level.logits[0].size for level in levels)
    random = jax.random.uniform(rngs.sampling(), (len(sizes), count))
    of_image = functools.partial(
        anchor_targets,
        shapes,
        model.strides,
        settings=settings,
        anchor_scale=model.settings.anchor_scale,
    )
    targets = on_own_images(jax.vmap(of_image))(
        sizes, padded(sizes), objects.boxes, objects.valid, random
    )
    sums = jax.vmap(lambda levels, targets: rpn_losses(levels, targets, settings))(levels, targets)
    total = targets.total.sum()
    losses = {
        "rpn_class_loss": sums.classification.sum() / total,
        "rpn_box_loss": sums.boxes.sum() / total,
    }
    return losses, targets


def sampled_regions(
    model: Detector,
    stage: int,
    boxes: Float[Array, "b n 4"],
    valid: Bool[Array, "b n"],
    objects: Objects,
    rngs: nnx.Rngs,
) -> Regions:
    """The regions of each image that a stage is trained with.

    Args:
        model: the detector.
        stage: of its heads.
        boxes: proposals, or what the stage before made of its regions.
        valid: which of them are there.
        objects: in the images.
        rngs: its stream `sampling` decides what is sampled.
    """
    rows = boxes.shape[1] + objects.boxes.shape[1]
    random = jax.random.uniform(rngs.sampling(), (len(boxes), rows))
    sampled = functools.partial(
        sample_regions,
        assignment=model.settings.stages[stage].assignment,
        sampling=model.settings.sampling,
    )
    return on_own_images(jax.vmap(sampled))(boxes, valid, objects.boxes, objects.valid, random)


def box_head_losses(
    model: Detector,
    stage: int,
    logits: Float[Array, "b n classes_and_background"],
    deltas: Float[Array, "b n classes_or_one 4"],
    regions: Regions,
    objects: Objects,
) -> dict[str, Float[Array, ""]]:
    """The losses of a stage's box head by name, without the stage's weight, and its accuracy.

    Args:
        model: the detector.
        stage: of its heads.
        logits: of the regions.
        deltas: of the regions.
        regions: of the stage.
        objects: in the images.
    """
    settings = model.settings.stages[stage]
    classes, boxes = _of_regions(objects.classes, regions), _of_regions(objects.boxes, regions)
    losses = box_losses(
        _in_a_row(logits),
        _in_a_row(deltas),
        _in_a_row(regions.boxes),
        _in_a_row(regions.valid),
        _in_a_row(regions.positive),
        _in_a_row(classes),
        _in_a_row(boxes),
        coder=settings.coder,
        beta=settings.beta,
    )
    return {
        "class_loss": losses.classification,
        "class_accuracy": losses.accuracy,
        "box_loss": losses.boxes,
    }


def positive_regions(model: Detector, regions: Regions) -> Regions:
    """The first regions of each image: those for an object, and as many rows as those may be."""
    sampling = model.settings.sampling
    most = min(int(sampling.count * sampling.positive_fraction), regions.boxes.shape[1])
    return jax.tree.map(lambda x: x[:, :most], regions)


def mask_head_loss(
    model: Detector,
    stage: int,
    features: Float[Array, "b_n bins bins c"],
    regions: Regions,
    classes: Int[Array, "b m"],
    masks: UInt8[Array, "b m h w_bytes"],
    seen: Integer[Array, "b 2"],
) -> tuple[Float[Array, ""], Bool[Array, "b n side side"]]:
    """The loss of a stage's mask head, without the stage's weight, and the masks it is held to.

    Args:
        model: the detector.
        stage: of its heads.
        features: of the regions.
        regions: from `positive_regions`.
        classes: of the objects in the images.
        masks: of the objects, packed as in `Objects`.
        seen: sizes of the images with the padding that they are seen with.
    """
    of_image = functools.partial(mask_targets, bins=2 * MASK_BINS)
    targets = on_own_images(jax.vmap(of_image))(regions.boxes, masks, regions.objects, seen)
    loss = mask_loss(
        model.mask_heads[stage](features),
        _in_a_row(regions.positive),
        _in_a_row(_of_regions(classes, regions)),
        _in_a_row(targets),
    )
    return loss, targets


def _of_regions(values: Array, regions: Regions) -> Array:
    """What each region's object has of something."""
    rows = regions.objects.reshape(*regions.objects.shape, *(1,) * (values.ndim - 2))
    return jnp.take_along_axis(values, rows, axis=1)


def _in_a_row(x: Array) -> Array:
    """What each region of all images has, without the axis of images."""
    return x.reshape(-1, *x.shape[2:])
