"""The training transforms as the reference makes them: one after the other, on whole images."""

import cv2
import numpy as np

from gcnet_jax.tasks.segmentation.data.transforms import draw_photometric_distortion


def transformed_step_by_step(image, label, rng, transform):
    """The reference's sequence on whole images: resize, crop, flip, distort, pad.

    Everything is computed by itself, and drawn in the order that decides what a seed gives.
    """
    ratio = rng.uniform(*transform.scale_range)
    long, short = (int(length * ratio) for length in transform.base_scale)
    factor = min(max(long, short) / max(label.shape), min(long, short) / min(label.shape))
    height, width = (int(length * factor + 0.5) for length in label.shape)
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    label = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST)

    for last in [False] * 10 + [True]:
        top = rng.integers(max(height - transform.crop_size[0], 0) + 1)
        left = rng.integers(max(width - transform.crop_size[1], 0) + 1)
        rows = slice(top, top + transform.crop_size[0])
        columns = slice(left, left + transform.crop_size[1])
        classes, counts = np.unique(label[rows, columns], return_counts=True)
        counts = counts[classes != 255]
        if last or transform.cat_max_ratio >= 1:
            break
        if len(counts) > 1 and counts.max() / counts.sum() < transform.cat_max_ratio:
            break
    image, label = image[rows, columns], label[rows, columns]

    if rng.random() < transform.flip_probability:
        image, label = image[:, ::-1], label[:, ::-1]
    if transform.photometric_distortion:
        image = distorted_step_by_step(image, draw_photometric_distortion(rng))
    size = label.shape
    below, right = (crop - length for crop, length in zip(transform.crop_size, size, strict=True))
    image = np.pad(image, ((0, below), (0, right), (0, 0)))
    label = np.pad(label, ((0, below), (0, right)), constant_values=255)
    return {"image": image, "label": label, "size": np.array(size)}


def distorted_step_by_step(image, distortion):
    """As mmsegmentation's ``PhotoMetricDistortion``: every step on all pixels, in its order."""

    def converted(pixels, alpha=1.0, beta=0.0):
        return np.clip(pixels.astype(np.float32) * alpha + beta, 0, 255).astype(np.uint8)

    if distortion.brightness is not None:
        image = converted(image, beta=distortion.brightness)
    if distortion.contrast is not None and distortion.contrast_first:
        image = converted(image, alpha=distortion.contrast)
    if distortion.saturation is not None:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        hsv[:, :, 1] = converted(hsv[:, :, 1], alpha=distortion.saturation)
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if distortion.hue is not None:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        hsv[:, :, 0] = (hsv[:, :, 0].astype(int) + distortion.hue) % 180
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if distortion.contrast is not None and not distortion.contrast_first:
        image = converted(image, alpha=distortion.contrast)
    return image
