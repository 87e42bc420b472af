"""Attention as pictures."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

_BAR_HEIGHT, _MARGIN = 12, 4  # pixels
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.45
_LINE = 16  # pixels of a line of text
_MOST_DIGITS = 6  # of numbers about 1: float32 has no more


def heat_overlay(
    image: UInt8[np.ndarray, "h w 3"], heat: Float[np.ndarray, "h w"], *, opacity: float = 0.6
) -> UInt8[np.ndarray, "h w 3"]:
    """A map over a greyed RGB image, its colours spread from its lowest value to its highest.

    A map of one value has the colour in the middle.
    """
    low, high = float(heat.min()), float(heat.max())
    share = (heat - low) / (high - low) if _differs(low, high) else np.full(heat.shape, 0.5)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(grey, 1 - opacity, _colors(share), opacity, 0)


def heat_bar(heat: Float[np.ndarray, "h w"], width: int) -> UInt8[np.ndarray, "bar width 3"]:
    """A colour bar for a map as `heat_overlay` draws it, with the values at its ends.

    Values of a map without any below zero are said in multiples of its mean, which is the weight
    that each position would have if all had the same.

    Args:
        heat: the map.
        width: of the bar in pixels.
    """
    bar = np.full((_MARGIN + _BAR_HEIGHT + _LINE, width, 3), 255, np.uint8)
    low, high, mean = float(heat.min()), float(heat.max()), float(heat.mean())
    share = np.linspace(0, 1, width) if _differs(low, high) else np.full(width, 0.5)
    bar[_MARGIN : _MARGIN + _BAR_HEIGHT] = _colors(np.tile(share, (_BAR_HEIGHT, 1)))
    if not _differs(low, high):
        _write(bar, "the same everywhere", 0.5)
    elif low >= 0:
        first, last = _apart(low / mean, high / mean)
        _write(bar, first, 0)
        _write(bar, f"{last} x mean", 1)
    else:
        _write(bar, f"{low:.3g}", 0)
        _write(bar, f"{high:.3g}", 1)
    return bar


def _differs(low: float, high: float) -> bool:
    """Whether two values differ by more than the rounding of float32."""
    return high - low > 10**-_MOST_DIGITS * max(abs(low), abs(high))


def _apart(low: float, high: float) -> tuple[str, str]:
    """Two numbers, with as many digits as it takes to tell how far they are apart."""
    digits = next((n for n in range(2, _MOST_DIGITS) if high - low >= 10 * 10**-n), _MOST_DIGITS)
    return f"{low:.{digits}f}", f"{high:.{digits}f}"


def _colors(share: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    scaled = np.round(255 * share).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(scaled, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)


def _write(bar: UInt8[np.ndarray, "h w 3"], text: str, place: float) -> None:
    """Writes below the bar, from its left end (0) to its right (1)."""
    (width, _), _ = cv2.getTextSize(text, _FONT, _FONT_SCALE, 1)
    left = round(place * (bar.shape[1] - width))
    cv2.putText(bar, text, (left, bar.shape[0] - 4), _FONT, _FONT_SCALE, (0, 0, 0), 1, cv2.LINE_AA)
