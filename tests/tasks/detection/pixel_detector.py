"""A detector whose answers hang on single pixels: no rounding tells one batch from another."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from gcnet_jax.tasks.detection.config import default_config
from gcnet_jax.tasks.detection.detector import Detections
from tests.tasks.detection.data.annotated import MadeUp, annotations_of_boxes, prepare_made_up

ROWS, SIDE = 6, 7
SIZES = [(40, 60), (64, 64), (100, 50), (33, 90), (48, 48), (20, 61), (90, 88)]


class PixelDetector(nnx.Module):
    """Takes boxes, scores, classes and masks from the first rows of an image."""

    def __init__(self, *, with_masks=True):
        self.parameter = nnx.Param(jnp.zeros(()))
        self.with_masks = with_masks

    def __call__(self, images, sizes):
        # From (0..255 - mean) / std back to 0..1, roughly; the same for every batch.
        pixels = images[:, :ROWS, :8] * 0.2 + 0.45
        height, width = (sizes[:, i, None].astype(jnp.float32) for i in (0, 1))
        left, top = (jnp.clip(pixels[:, :, i, 0] * 0.4, 0, 0.6) for i in (0, 1))
        right, bottom = (jnp.clip(pixels[:, :, i, 1] * 0.4 + 0.45, 0, 1) for i in (2, 3))
        boxes = jnp.stack([left * width, top * height, right * width, bottom * height], -1)
        scores = jnp.clip(pixels[:, :, 4, 0], 0.01, 0.99)
        order = jnp.argsort(-scores, axis=1)
        by = {
            "boxes": boxes,
            "scores": scores,
            "classes": (pixels[:, :, 5, 0] > 0.5).astype(jnp.int32) * 2,
            "valid": pixels[:, :, 6, 0] > 0.2,
        }
        by = {
            key: jnp.take_along_axis(x, order[..., None] if x.ndim == 3 else order, axis=1)
            for key, x in by.items()
        }
        masks = jnp.clip(images[:, None, :SIDE, :SIDE, 0] * 0.2 + 0.6, 0, 1)
        masks = jnp.broadcast_to(masks, (len(images), ROWS, SIDE, SIDE))
        return Detections(**by, masks=masks if self.with_masks else None)


def small_config(data_dir, name="made_up"):
    """A config whose images are hardly resized."""
    config = default_config()
    config.data.name, config.data.data_dir, config.data.base_scale = name, str(data_dir), (96, 64)
    return config


def prepare_noise(data_dir, *, has_masks=True, name="made_up"):
    """Prepares images of noise, see `noise_examples`."""
    examples = noise_examples(has_masks=has_masks)
    prepare_made_up(name, data_dir, {"val": examples, "train": examples}, has_masks=has_masks)


def noise_examples(*, has_masks=True):
    """Images of noise, annotated with about what the detector finds in them, and others.

    Classes 0 and 2 have objects, and class 1 has none; one object is a crowd.
    """
    rng = np.random.default_rng(0)
    examples = []
    for index, size in enumerate(SIZES):
        height, width = size
        number = index % 4
        corners = rng.uniform(0, 0.4, (number, 2)) * [width, height]
        lengths = rng.uniform(0.3, 0.6, (number, 2)) * [width, height]
        boxes = np.concatenate([corners, lengths], 1).round()
        classes = rng.integers(0, 2, number) * 2
        crowds = np.zeros(number)
        crowds[:1] = index == 3
        annotations = annotations_of_boxes(boxes, size, classes, crowds, masks=has_masks)
        examples.append(MadeUp(f"{index}.png", index, size, annotations))
    return examples
