"""What the page gets: results with their layers at the size of a screen, and attention maps."""

from typing import Any

import numpy as np
from jaxtyping import UInt16

from gcnet_jax.analysis.attention_maps import AttentionMap
from gcnet_jax.task import Layer, ShownResult

_LONGEST_EDGE = 1600  # pixels of a layer, which the page enlarges


def layer_to_plain(result: ShownResult) -> dict[str, Any]:
    """A result for the page, as plain JSON.

    Returns:
        `width` and `height` of the image, `layer`, and `result`, as `result.json` has it. A layer
        has the `measure` of its parts; `parts`, each with `name`, `value`, `color`, `region` and,
        if there is one, `box`; and, if it is about pixels, `regions` with its own `width` and
        `height` and `runs`: a value, how many pixels have it, the next value, and so on, by rows.
    """
    height, width = result.image.shape[:2]
    scale = min(1.0, _LONGEST_EDGE / max(height, width))
    layer = result.layer((max(1, round(height * scale)), max(1, round(width * scale))))
    return {
        "width": width,
        "height": height,
        "layer": _plain(layer),
        "result": result.to_plain(),
    }


def map_to_plain(block: str, found: AttentionMap) -> dict[str, Any]:
    """An attention map as plain JSON.

    Returns:
        `block`; `of_query`, whether the map is the point's own; `window`, the part of the image
        that it covers; `width`, `height` and `weights`, by rows, in multiples of their mean.
    """
    height, width = found.weights.shape
    shares = found.weights / max(float(found.weights.mean()), np.finfo(np.float32).tiny)
    return {
        "block": block,
        "of_query": found.of_query,
        "window": found.window,
        "width": width,
        "height": height,
        "weights": [float(f"{share:.6g}") for share in shares.ravel().tolist()],
    }


def _plain(layer: Layer) -> dict[str, Any]:
    parts = [
        {name: value for name, value in part._asdict().items() if value is not None}
        for part in layer.parts
    ]
    plain: dict[str, Any] = {"measure": layer.measure, "parts": parts}
    if layer.regions is not None:
        height, width = layer.regions.shape
        plain["regions"] = {"width": width, "height": height, "runs": _runs(layer.regions)}
    return plain


def _runs(regions: UInt16[np.ndarray, "h w"]) -> list[int]:
    flat = regions.ravel()
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    lengths = np.diff(starts, append=flat.size)
    return np.stack([flat[starts].astype(np.int64), lengths], axis=1).ravel().tolist()
