"""How much boxes overlap: intersection over union, and over the area of one of the two.

Boxes are (x1, y1, x2, y2); a width is x2 - x1, without the 1 that older code adds. Everything is
rounded to float32 where the reference rounds it, so that decisions by a threshold are its own;
`rounded` and `divided` see to that where the compiler would not.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

_LEAST_AREA = 1e-6


def intersection_over_union(
    boxes: Float[Array, "n 4"], others: Float[Array, "m 4"]
) -> Float[Array, "n m"]:
    """Intersection over union of all pairs, as mmdetection's `bbox_overlaps`.

    The union counts as at least 1e-6, so that boxes without area overlap nothing by 0.
    """
    intersection = intersections(boxes[:, None], others)
    union = areas(boxes)[:, None] + areas(others) - intersection
    return intersection / jnp.maximum(union, _LEAST_AREA)


def intersection_over_area(
    boxes: Float[Array, "n 4"], others: Float[Array, "m 4"]
) -> Float[Array, "n m"]:
    """The share of each of `boxes` that lies in each of `others` (mmdetection's mode `iof`).

    The area counts as at least 1e-6.
    """
    intersection = intersections(boxes[:, None], others)
    return divided(intersection, jnp.maximum(areas(boxes)[:, None], _LEAST_AREA))


def areas(boxes: Float[Array, "*n 4"]) -> Float[Array, "*n"]:
    """Areas in square pixels; negative where exactly one side is reversed."""
    return rounded((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1]))


def intersections(boxes: Float[Array, "*n 4"], others: Float[Array, "*n 4"]) -> Float[Array, "*n"]:
    """Areas that boxes share, in square pixels; the leading axes are broadcast."""
    # Coordinate by coordinate: in pairs the compiler makes loops over two numbers of it.
    left = jnp.maximum(boxes[..., 0], others[..., 0])
    right = jnp.minimum(boxes[..., 2], others[..., 2])
    top = jnp.maximum(boxes[..., 1], others[..., 1])
    bottom = jnp.minimum(boxes[..., 3], others[..., 3])
    width, height = jnp.maximum(right - left, 0.0), jnp.maximum(bottom - top, 0.0)
    return rounded(width * height)


def divided(dividend: Float[Array, "*n"], divisor: Float[Array, "*#n"]) -> Float[Array, "*n"]:
    """A quotient as float32 rounds it, though the divisor is broadcast.

    For what is broadcast the compiler takes the reciprocal once and multiplies, which rounds twice.
    """
    return dividend / lax.optimization_barrier(jnp.broadcast_to(divisor, dividend.shape))


def rounded(product: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """A product as it is, rounded to float32 before it is added to anything.

    The compiler makes one operation of a product and the sum that it goes into, which rounds once
    instead of twice, and not in every program alike: two boxes with the same overlap would get
    different ones, and a box exactly on a threshold would pass it. Barriers of JAX do not hinder
    that, a maximum does.
    """
    return jnp.maximum(product, jnp.finfo(jnp.float32).min)
