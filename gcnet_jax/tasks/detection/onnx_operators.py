"""What detectors have in ONNX's own operators, in place of loops over boxes."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gcnet_jax.errors import InputError
from gcnet_jax.export.onnx_operators import non_maximum_suppression, roi_align
from gcnet_jax.tasks.detection.boxes.suppression import largest_coordinate, offsets


def _suppress(params: Mapping[str, Any], *arrays: Any) -> tuple[Array, Array]:
    """`boxes.suppression.suppress` of a batch."""
    boxes, scores, valid, groups, threshold = arrays
    boxes = jnp.where(valid[..., None], boxes, 0)

    def of_image(boxes: Float[Array, "n 4"], valid: Bool[Array, "n"]) -> Array:
        return boxes + offsets(groups, largest_coordinate(boxes, valid[:, None]))[:, None]

    there = jnp.where(valid, scores, -jnp.inf)
    limit = _limit(params)
    kept = non_maximum_suppression(
        jax.vmap(of_image)(boxes, valid), there[:, None], threshold=float(threshold), limit=limit
    )
    return _best(jnp.where(kept[:, 0], there, -jnp.inf), limit)


def _suppress_by_class(params: Mapping[str, Any], *arrays: Any) -> tuple[Array, Array]:
    """`boxes.suppression.suppress_by_class` of a batch."""
    boxes, scores, valid, score_threshold, threshold = arrays
    batch, rows, classes = scores.shape
    boxes = boxes if boxes.ndim == 4 else boxes[:, :, None]

    def of_image(boxes: Float[Array, "n k 4"], there: Bool[Array, "n c"]) -> Array:
        own = there if boxes.shape[1] > 1 else jnp.any(there, axis=1, keepdims=True)
        moves = offsets(jnp.arange(classes), largest_coordinate(boxes, own[..., None]))
        return (boxes + moves[:, None]).transpose(1, 0, 2)

    there = valid[..., None] & (scores > score_threshold)
    table = jnp.where(there, scores, -jnp.inf)
    limit = _limit(params)
    # A class of an image is an image of its own: ONNX has the same boxes for all classes.
    kept = non_maximum_suppression(
        jax.vmap(of_image)(boxes, there).reshape(batch * classes, rows, 4),
        table.transpose(0, 2, 1).reshape(batch * classes, 1, rows),
        threshold=float(threshold),
        limit=limit,
    )
    kept = kept.reshape(batch, classes, rows).transpose(0, 2, 1)
    return _best(jnp.where(kept, table, -jnp.inf).reshape(batch, rows * classes), limit)


def _best(scores: Float[Array, "b n"], limit: int) -> tuple[Int[Array, "b k"], Bool[Array, "b k"]]:
    """Where the best scores are, equal ones by index, and which are there at all."""
    batch, count = scores.shape
    if count < limit:
        missing = jnp.full((batch, limit - count), -jnp.inf)
        scores = jnp.concatenate([scores, missing], axis=1)
    best, indices = jax.lax.top_k(scores, limit)
    valid = best > -jnp.inf
    return jnp.where(valid, indices, 0), valid


def _limit(params: Mapping[str, Any]) -> int:
    """How many boxes a function of suppression returns."""
    return params["jaxpr"].out_avals[0].shape[-1]


def _roi_align(params: Mapping[str, Any], *arrays: Any) -> Float[Array, "r bins bins c"]:
    """`regions.roi_align.roi_align` of images that fill their arrays."""
    (pooled,) = params["jaxpr"].out_avals
    count = (len(arrays) - 3) // 2
    if len(arrays) != 2 * count + 3:
        raise InputError("ONNX has no RoIAlign of images that are smaller than their arrays")
    pyramid, (boxes, images, levels), strides = (
        arrays[:count],
        arrays[count : count + 3],
        arrays[count + 3 :],
    )
    result = jnp.zeros(pooled.shape, pooled.dtype)
    for level, (features, stride) in enumerate(zip(pyramid, strides, strict=True)):
        own = levels == level
        found = roi_align(
            features.transpose(0, 3, 1, 2),
            jnp.where(own[:, None], boxes, 0),  # of other levels empty ones, which cost nothing
            images,
            stride=int(stride),
            bins=pooled.shape[1],
        )
        result = jnp.where(own[:, None, None, None], found.transpose(0, 2, 3, 1), result)
    return result


ONNX_OPERATORS: Mapping[str, Callable[..., Any]] = {
    "jit(suppress)": _suppress,
    "jit(suppress_by_class)": _suppress_by_class,
    "jit(roi_align)": _roi_align,
}
"""What stands for functions in ONNX models; RoIAlign has adaptive samples, as detectors want."""
