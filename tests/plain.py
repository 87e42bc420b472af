"""Inference as the reference describes it: one image at a time, step by step, in NumPy.

What the library's batched, fused computations are compared with. Slow and short.
"""

from collections.abc import Callable

import cv2
import numpy as np

Network = Callable[[np.ndarray], np.ndarray]
"""From one normalised image (h, w, 3) to logits at the network's own resolution."""
Infer = Callable[[np.ndarray], np.ndarray]
"""From one normalised image to logits at its size."""


def resize_axis(x: np.ndarray, n_out: int, align_corners: bool) -> np.ndarray:
    """Bilinear interpolation along the first axis, sample by sample, as PyTorch documents it."""
    n_in = x.shape[0]
    rows = []
    for i in range(n_out):
        if align_corners:
            position = i * (n_in - 1) / (n_out - 1) if n_out > 1 else 0.0
        else:
            position = max((i + 0.5) * n_in / n_out - 0.5, 0.0)
        low = min(int(position), n_in - 1)
        high = min(low + 1, n_in - 1)
        share = min(position - low, 1.0)
        rows.append((1 - share) * x[low] + share * x[high])
    return np.stack(rows)


def resize(x: np.ndarray, size: tuple[int, int], align_corners: bool) -> np.ndarray:
    """Bilinear interpolation of (h, w, channels)."""
    x = resize_axis(x, size[0], align_corners)
    return resize_axis(x.swapaxes(0, 1), size[1], align_corners).swapaxes(0, 1)


def normalize(image: np.ndarray) -> np.ndarray:
    """8-bit RGB to what the networks take."""
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    return ((image - mean) / std).astype(np.float32)


def whole(network: Network, align_corners: bool) -> Infer:
    """The network sees the image as a whole."""
    return lambda image: resize(network(image), image.shape[:2], align_corners)


def slide(
    network: Network, align_corners: bool, window: tuple[int, int], stride: tuple[int, int]
) -> Infer:
    """Windows moved inwards at the border; sums of their logits over counts."""

    def infer(image: np.ndarray) -> np.ndarray:
        height, width, _ = image.shape
        tall, wide = min(window[0], height), min(window[1], width)
        total = count = 0
        for row in range(max(height - window[0] + stride[0] - 1, 0) // stride[0] + 1):
            for column in range(max(width - window[1] + stride[1] - 1, 0) // stride[1] + 1):
                top = min(row * stride[0], height - tall)
                left = min(column * stride[1], width - wide)
                cut = image[top : top + tall, left : left + wide]
                logits = resize(network(cut), (tall, wide), align_corners)
                border = ((top, height - top - tall), (left, width - left - wide), (0, 0))
                total = total + np.pad(logits, border)
                count = count + np.pad(np.ones((tall, wide, 1)), border)
        return total / count

    return infer


def fit(image: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """The image in its own aspect, as large as fits bounds on its long and short edge."""
    height, width, _ = image.shape
    factor = min(max(bounds) / max(height, width), min(bounds) / min(height, width))
    size = max(int(width * factor + 0.5), 1), max(int(height * factor + 0.5), 1)
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def scores(
    infer: Infer, image: np.ndarray, base_scale: tuple[int, int], align_corners: bool
) -> np.ndarray:
    """Logits of an 8-bit image at its size, from the image resized to the base scale."""
    resized = fit(image, base_scale)
    return resize(infer(normalize(resized)), image.shape[:2], align_corners)


def multi_scale_scores(
    infer: Infer, image: np.ndarray, ratios: tuple[float, ...], align_corners: bool
) -> np.ndarray:
    """The mean of class probabilities over scales and mirror images."""
    height, width, _ = image.shape
    total = 0
    for ratio in ratios:
        scaled = fit(image, (max(int(width * ratio + 0.5), 1), max(int(height * ratio + 0.5), 1)))
        for flipped in (False, True):
            seen = scaled[:, ::-1] if flipped else scaled
            logits = infer(normalize(seen))
            logits = logits[:, ::-1] if flipped else logits
            logits = resize(logits, (height, width), align_corners)
            exponential = np.exp(logits - logits.max(-1, keepdims=True))
            total = total + exponential / exponential.sum(-1, keepdims=True)
    return total / (2 * len(ratios))
