"""What the page gets of a result: its layer at the size of a screen, and the result itself."""

from typing import Any

import numpy as np
from jaxtyping import UInt16

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
