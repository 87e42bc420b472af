"""Random weights whose outputs spread as those of trained detectors do, in place of all alike."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from gcnet_jax.nn.norm import BatchNorm
from gcnet_jax.tasks.detection.detector import Detector
from gcnet_jax.tasks.detection.proposals import Level

_RESIDUAL = 0.3
"""The scale of what a block adds, which starts at nothing: the network would be its shortcuts."""
_RPN_DEVIATION, _RPN_MEAN = 1.5, -3.0
_RPN_DELTAS_DEVIATION, _RPN_DELTAS_MEAN = (0.3, 0.3, 1.2, 1.2), (0, 0, 0.8, 0.8)
"""Spread and mean of x, y, width and height. Most of the best anchors are of the finest map, and
regions should be of all."""


def add_in_blocks(model: Detector) -> None:
    """Lets each residual block add something to its shortcut."""
    for _, node in nnx.iter_graph(model):
        if isinstance(node, BatchNorm) and not np.any(node.scale[...]):
            node.scale[...] = jnp.full_like(node.scale[...], _RESIDUAL)


def spread_proposals(model: Detector, levels: Sequence[Level]) -> None:
    """Changes the proposal head, which said this of some images, so that anchors differ."""
    head = model.rpn_head
    spread(head.logits, _in_rows([x.logits for x in levels]), _RPN_DEVIATION, _RPN_MEAN)
    deltas = _in_rows([x.deltas.reshape(*x.deltas.shape[:3], -1) for x in levels])
    each = deltas.shape[1] // 4
    spread(
        head.deltas,
        deltas,
        np.tile(_RPN_DELTAS_DEVIATION, each),
        np.tile(_RPN_DELTAS_MEAN, each),
    )


def spread(
    layer: nnx.Module,
    outputs: Float[Array, "*n c"],
    deviation: float | np.ndarray,
    mean: float | np.ndarray = 0,
) -> None:
    """Changes a layer that said this, so that each channel has that deviation and mean."""
    outputs = outputs.reshape(-1, outputs.shape[-1])
    means, deviations = outputs.mean(axis=0), outputs.std(axis=0)
    scale = deviation / jnp.maximum(deviations, 1e-12)
    any_layer: Any = layer
    any_layer.kernel[...] = any_layer.kernel[...] * scale
    any_layer.bias[...] = (any_layer.bias[...] - means) * scale + mean


def _in_rows(maps: list[Float[Array, "b _h _w c"]]) -> Float[Array, "n c"]:
    return jnp.concatenate([x.reshape(-1, x.shape[-1]) for x in maps])
