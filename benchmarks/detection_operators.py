"""A detector's operators alone, beside torchvision's C++: results are compared before the time."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from gcnet_jax.errors import InputError
from gcnet_jax.ops.deformable_convolution import deformable_convolution
from gcnet_jax.tasks.detection.boxes.suppression import Kept, suppress, suppress_by_class
from gcnet_jax.tasks.detection.regions.levels import region_levels
from gcnet_jax.tasks.detection.regions.roi_align import roi_align

_LARGEST_DEVIATION = 1e-4
"""The deviation of results, relative to the largest, that the order of sums can explain."""
_STRIDES = (4, 8, 16, 32)
_BINS = 7
_GROUPS = 32


class Amounts(NamedTuple):
    """How much each operator has to do.

    Attributes:
        size: (height, width) of the image that pyramids are of.
        channels: of each map.
        regions: of RoIAlign forward.
        sampled_regions: of RoIAlign with its gradient.
        per_level: boxes of each of five levels that proposals are chosen from.
        classes: of the boxes that detections are chosen from.
        detections: to choose.
    """

    size: tuple[int, int]
    channels: int
    regions: int = 1000
    sampled_regions: int = 512
    per_level: int = 1000
    classes: int = 80
    detections: int = 100


class Operator(NamedTuple):
    """An operator on given input.

    Attributes:
        ours: runs it.
        theirs: runs torchvision's on the same; None without torchvision.
        to_ours: takes torchvision's result to what ours is compared with.
        facts: of the input.
    """

    ours: Callable[[], Any]
    theirs: Callable[[], Any] | None
    facts: Mapping[str, Any]


def operators(amounts: Amounts, *, peer: bool) -> dict[str, Operator]:
    """The operators by name, each run once and compared with torchvision's if that takes part.

    Raises:
        InputError: one computes something else than torchvision's.
    """
    made = {
        f"RoIAlign of {amounts.regions}, forward": _forward(amounts, peer),
        f"RoIAlign of {amounts.sampled_regions}, with gradient": _with_gradient(amounts, peer),
        f"NMS of 5 x {amounts.per_level}": _proposals(amounts, peer),
        f"NMS in {amounts.classes} classes, best {amounts.detections}": _by_class(amounts, peer),
    }
    for name, backward in (("forward", False), ("with gradient", True)):
        made[f"deformable convolution, {name}"] = _deformable(amounts, peer, backward)
    for name, operator in made.items():
        ours = operator.ours()
        if operator.theirs is not None:
            check(name, ours, operator.theirs())
    return made


def draw_regions(count: int, size: tuple[int, int], seed: int = 0) -> Float[np.ndarray, "n 4"]:
    """Boxes of many sizes and shapes inside an image, as proposals are."""
    rng = np.random.default_rng(seed)
    height, width = size
    side = np.exp(rng.uniform(np.log(16), np.log(0.8 * height + 16), count))
    aspect = np.exp(rng.normal(0, 0.5, count) / 2)
    half = np.stack([side * aspect, side / aspect], axis=1) / 2
    centre = rng.uniform(0, [width, height], (count, 2))
    corners = np.concatenate([centre - half, centre + half], axis=1)
    return np.clip(corners, 0, [width, height, width, height]).astype(np.float32)


def samples_of_bins(boxes: Float[np.ndarray, "n 4"], levels: Int[np.ndarray, " n"]) -> np.ndarray:
    """The samples of each box's bins, along the axis that has more."""
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / np.array(_STRIDES)[levels]
    return np.ceil(sides / _BINS)


def _pyramid(amounts: Amounts) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    height, width = (-(-x // 32) * 32 for x in amounts.size)
    return [
        rng.normal(size=(1, height // x, width // x, amounts.channels)).astype(np.float32)
        for x in _STRIDES
    ]


def _regions(amounts: Amounts, count: int) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    boxes = draw_regions(count, amounts.size)
    levels = np.asarray(region_levels(jnp.asarray(boxes)))
    samples = samples_of_bins(boxes, levels)
    facts = {
        "regions_by_level": np.bincount(levels, minlength=4).tolist(),
        "share_of_more_than_2_samples": float((samples > 2).mean()),
        "share_of_more_than_4_samples": float((samples > 4).mean()),
    }
    return boxes, levels, facts


def _ours(pyramid: Any, boxes: Any, levels: Any) -> jax.Array:
    images = jnp.zeros(len(boxes), jnp.int32)
    return roi_align(pyramid, boxes, images, levels, strides=_STRIDES, bins=_BINS)


def _theirs(pyramid: list[Any], boxes: Any, levels: np.ndarray) -> Any:
    """Level by level, as torchvision's own pooling of pyramids does it."""
    torch, ops = importlib.import_module("torch"), importlib.import_module("torchvision.ops")
    result = torch.zeros(len(boxes), pyramid[0].shape[1], _BINS, _BINS)
    for level, (features, stride) in enumerate(zip(pyramid, _STRIDES, strict=True)):
        rows = torch.from_numpy(np.flatnonzero(levels == level))
        result[rows] = ops.roi_align(
            features, [boxes[rows]], _BINS, 1 / stride, sampling_ratio=0, aligned=True
        )
    return result


def _forward(amounts: Amounts, peer: bool) -> Operator:
    pyramid = _pyramid(amounts)
    boxes, levels, facts = _regions(amounts, amounts.regions)
    arguments = jax.device_put((pyramid, boxes, levels))
    run = jax.jit(_ours)
    if not peer:
        return Operator(lambda: run(*arguments), None, facts)
    maps, box_tensor = [_planes(x) for x in pyramid], _tensor(boxes)

    def theirs() -> Any:
        with importlib.import_module("torch").inference_mode():
            return _theirs(maps, box_tensor, levels).permute(0, 2, 3, 1)

    return Operator(lambda: run(*arguments), theirs, facts)


def _with_gradient(amounts: Amounts, peer: bool) -> Operator:
    pyramid = _pyramid(amounts)
    boxes, levels, facts = _regions(amounts, amounts.sampled_regions)
    shape = (len(boxes), _BINS, _BINS, amounts.channels)
    cotangents = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    arguments = jax.device_put((pyramid, boxes, levels, cotangents))

    @jax.jit
    def run(pyramid: Any, boxes: Any, levels: Any, cotangents: Any) -> Any:
        # Both are returned: of a linear function, the gradient alone would leave out the forward.
        result, transpose = jax.vjp(lambda x: _ours(x, boxes, levels), pyramid)
        return result, *transpose(cotangents)[0]

    if not peer:
        return Operator(lambda: run(*arguments), None, facts)
    maps = [_planes(x).requires_grad_() for x in pyramid]
    box_tensor, of_result = _tensor(boxes), _planes(cotangents)

    def theirs() -> Any:
        result = _theirs(maps, box_tensor, levels)
        gradients = importlib.import_module("torch").autograd.grad(result, maps, of_result)
        return [x.detach().permute(0, 2, 3, 1) for x in (result, *gradients)]

    return Operator(lambda: run(*arguments), theirs, facts)


def _around_objects(count: int, size: tuple[int, int], seed: int) -> Float[np.ndarray, "n 4"]:
    """Boxes as a head makes them: many about each of a few objects, and some anywhere."""
    rng = np.random.default_rng(seed)
    objects = draw_regions(30, size, seed=3)[rng.integers(0, 30, count)]
    sides = np.tile(objects[:, 2:] - objects[:, :2], 2)
    boxes = objects + rng.normal(0, 0.12, (count, 4)) * sides
    alone = rng.random(count) < 0.4
    boxes[alone] = draw_regions(count, size, seed=seed + 100)[alone]
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    limits = np.tile(np.array(size[::-1]), 2)
    return np.clip(np.concatenate([low, high], axis=1), 0, limits).astype(np.float32)


def _proposals(amounts: Amounts, peer: bool) -> Operator:
    count = amounts.per_level
    boxes = np.concatenate([_around_objects(count, amounts.size, level) for level in range(5)])
    scores = np.random.default_rng(4).random(5 * count, np.float32)
    levels = np.repeat(np.arange(5), count)
    arguments = jax.device_put((boxes, scores, np.ones(5 * count, bool), levels))
    rules = {"threshold": 0.7, "limit": amounts.regions}
    run = jax.jit(lambda boxes, scores, valid, x: suppress(boxes, scores, valid, groups=x, **rules))
    facts = {"boxes": 5 * count}
    if not peer:
        return Operator(lambda: run(*arguments), None, facts)
    ops = importlib.import_module("torchvision.ops")
    tensors = _tensor(boxes), _tensor(scores), _tensor(levels)

    def theirs() -> Any:
        return ops.batched_nms(*tensors, 0.7)[: amounts.regions]

    return Operator(lambda: run(*arguments), theirs, facts)


def _by_class(amounts: Amounts, peer: bool) -> Operator:
    rows, classes = amounts.regions, amounts.classes
    rng = np.random.default_rng(5)
    boxes = np.stack([_around_objects(rows, amounts.size, 7) for _ in range(classes)], axis=1)
    boxes += rng.random(boxes.shape, np.float32)
    # A few classes for each box, some of them more often than others.
    logits = rng.normal(0, 1.1, (rows, classes + 1)) + rng.normal(0, 0.8, classes + 1)
    logits[:, -1] += 2.5
    shares = np.exp(logits)
    scores = (shares / shares.sum(axis=1, keepdims=True))[:, :-1].astype(np.float32)
    arguments = jax.device_put((boxes, scores, np.ones(rows, bool)))
    rules = {"score_threshold": 0.05, "threshold": 0.5, "limit": amounts.detections}
    run = jax.jit(lambda *x: suppress_by_class(*x, **rules))
    facts = {"candidates": int((scores > 0.05).sum())}
    if not peer:
        return Operator(lambda: run(*arguments), None, facts)
    torch, ops = importlib.import_module("torch"), importlib.import_module("torchvision.ops")
    flat_boxes, flat_scores = _tensor(boxes.reshape(-1, 4)), _tensor(scores.reshape(-1))
    labels = torch.arange(classes).repeat(rows)

    def theirs() -> Any:
        places = torch.where(flat_scores > 0.05)[0]
        best = ops.batched_nms(flat_boxes[places], flat_scores[places], labels[places], 0.5)
        return places[best[: amounts.detections]]

    return Operator(lambda: run(*arguments), theirs, facts)


def _deformable(amounts: Amounts, peer: bool, backward: bool) -> Operator:
    rng = np.random.default_rng(6)
    height, width = (-(-x // 32) * 2 for x in amounts.size)
    channels = amounts.channels
    groups = min(_GROUPS, channels)
    shapes = (
        (1, height, width, channels),
        (1, height, width, 18),
        (3, 3, channels // groups, channels),
        (1, height, width, channels),
    )
    x, offsets, kernel, cotangents = (rng.normal(size=s).astype(np.float32) for s in shapes)
    arguments = jax.device_put((x, offsets * 2, kernel / np.sqrt(9 * channels / groups)))
    facts = {"map": [height, width], "groups": groups}

    def forward(x: Any, offsets: Any, kernel: Any) -> jax.Array:
        return deformable_convolution(x, offsets, kernel, groups=groups)

    def both(x: Any, offsets: Any, kernel: Any, cotangents: Any) -> Any:
        result, pull_back = jax.vjp(forward, x, offsets, kernel)
        return result, *pull_back(cotangents)

    if backward:
        run, given = jax.jit(both), (*arguments, jax.device_put(cotangents))
    else:
        run, given = jax.jit(forward), arguments
    if not peer:
        return Operator(lambda: run(*given), None, facts)
    torch, ops = importlib.import_module("torch"), importlib.import_module("torchvision.ops")
    maps, shifts = (_planes(np.asarray(a)) for a in arguments[:2])
    weights = _tensor(np.asarray(arguments[2]).transpose(3, 2, 0, 1))
    of_result = _planes(cotangents)
    operands = [a.requires_grad_(backward) for a in (maps, shifts, weights)]

    def theirs() -> Any:
        result = ops.deform_conv2d(*operands, padding=1)
        if not backward:
            return result.permute(0, 2, 3, 1)
        *of_maps, of_weights = torch.autograd.grad(result, operands, of_result)
        maps = [a.detach().permute(0, 2, 3, 1) for a in (result, *of_maps)]
        return [*maps, of_weights.permute(2, 3, 1, 0)]

    return Operator(lambda: run(*given), theirs, facts)


def check(name: str, ours: Any, theirs: Any) -> None:
    """Raises InputError unless an operator's result is torchvision's."""
    if isinstance(ours, Kept):
        same = np.array_equal(np.asarray(ours.indices)[np.asarray(ours.valid)], theirs.numpy())
        if not same:
            raise InputError(f"{name}: torchvision keeps other boxes, or in another order")
        return
    both = (ours, theirs) if isinstance(ours, tuple) else ([ours], [theirs])
    for mine, other in zip(*both, strict=True):
        mine, other = np.asarray(mine), other.numpy()
        deviation, largest = np.abs(mine - other).max(), np.abs(other).max()
        if not deviation <= _LARGEST_DEVIATION * largest:
            raise InputError(
                f"{name}: results deviate from torchvision's by {deviation:.1e}, where the largest "
                f"is {largest:.1e}; expected {_LARGEST_DEVIATION:.0e} of that at most"
            )


def _tensor(array: np.ndarray) -> Any:
    return importlib.import_module("torch").from_numpy(np.array(array))


def _planes(array: np.ndarray) -> Any:
    """A tensor with channels first of an array with channels last."""
    return _tensor(array).permute(0, 3, 1, 2).contiguous()
