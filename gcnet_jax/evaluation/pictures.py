"""Attention as pictures."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8


def heat_overlay(
    image: UInt8[np.ndarray, "h w 3"], heat: Float[np.ndarray, "h w"], *, opacity: float = 0.6
) -> UInt8[np.ndarray, "h w 3"]:
    """A map of non-negative values over a greyed RGB image, scaled to its own maximum."""
    scaled = (255 * heat / max(float(heat.max()), 1e-12)).astype(np.uint8)
    colors = cv2.cvtColor(cv2.applyColorMap(scaled, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(grey, 1 - opacity, colors, opacity, 0)
