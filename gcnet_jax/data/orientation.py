"""Turning pixels as cameras note it beside them (EXIF orientation)."""

import numpy as np
from jaxtyping import UInt8


def turned(pixels: UInt8[np.ndarray, "h w"], orientation: int) -> UInt8[np.ndarray, "out_h out_w"]:
    """Turns pixels as they are stored into how they are displayed.

    Args:
        pixels: as stored.
        orientation: 1 to 8, as EXIF numbers it; see `gcnet_jax.data.image_files.ImageFile`.
    """
    turn = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.T,
        6: pixels[::-1].T,
        7: pixels[::-1, ::-1].T,
        8: pixels[:, ::-1].T,
    }
    return np.ascontiguousarray(turn[orientation])
