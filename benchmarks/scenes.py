"""Street scenes to measure with: as large, as rough and as slow to decode as those of a camera."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from gcnet_jax.config import Pixels
from gcnet_jax.data.image_coding import encode_png
from gcnet_jax.tasks.segmentation.data import IGNORE_LABEL, prepare_folder

DATASET, SPLIT = "scenes", "drawn"
"""What scenes are called once they are prepared."""


class Scene(NamedTuple):
    """An image and the class index of each of its pixels, as the 19 classes of Cityscapes."""

    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"]


_ROAD, _SIDEWALK, _BUILDING, _POLE, _SIGN, _TREE, _SKY, _PERSON, _CAR = 0, 1, 2, 5, 7, 8, 10, 11, 13

# The grain that gives PNG files of 1024x2048 pixels the 2 to 2.5 MB of the photographs in
# Cityscapes, in grey levels; it is what decoding spends its time on.
_GRAIN = 1.1


def draw_scene(seed: int, size: tuple[int, int]) -> Scene:
    """Draws a street: large regions, thin structures, soft light and the grain of a sensor.

    Args:
        seed: which scene.
        size: (height, width) in pixels.
    """
    rng = np.random.default_rng(seed)
    label = _draw_label(rng, size)
    colours = rng.integers(40, 200, (256, 3)).astype(np.float32)
    image = colours[label] + _smooth(rng, size, cells=6, contrast=25)
    image += _smooth(rng, size, cells=150, contrast=4)
    image += rng.normal(0, _GRAIN, image.shape).astype(np.float32)
    return Scene(np.clip(image, 0, 255).astype(np.uint8), label)


def write_scenes(folder: Path, scenes: Iterable[Scene], num_classes: int) -> None:
    """Writes `image/NUMBER.png`, `label/NUMBER.png` and `classes.csv`.

    Args:
        folder: which is there and empty.
        scenes: what to write.
        num_classes: pixels of further classes are ignored.
    """
    for part in ("image", "label"):
        (folder / part).mkdir()
    for index, scene in enumerate(scenes):
        # Pillow chooses a filter for every row, as is usual in PNG files and OpenCV does not.
        Image.fromarray(scene.image).save(folder / "image" / f"{index:04d}.png")
        label = np.where(scene.label < num_classes, scene.label, IGNORE_LABEL).astype(np.uint8)
        (folder / "label" / f"{index:04d}.png").write_bytes(encode_png(label))
    names = (f"class {index}" for index in range(num_classes))
    (folder / "classes.csv").write_text("\n".join(["name", *names]) + "\n")


def prepare_scenes(source: Path, data_dir: Path, pixels: Pixels = "as_found") -> None:
    """Prepares what `write_scenes` wrote as the data set `DATASET` with the one split `SPLIT`."""
    prepare_folder(
        DATASET,
        data_dir,
        source,
        images={SPLIT: ["image/*.png"]},
        masks={SPLIT: ["label/*.png"]},
        classes=source / "classes.csv",
        allow_absent=True,  # streets show nine kinds of things
        pixels=pixels,
    )


def _draw_label(rng: np.random.Generator, size: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
    height, width = size
    label = np.full(size, _BUILDING, np.uint8)
    horizon = int(rng.uniform(0.38, 0.46) * height)

    def across(low: float = 0, high: float = 1) -> int:
        return int(rng.uniform(low, high) * width)

    sky = [(across(0.1, 0.4), 0), (across(0.6, 0.9), 0), (across(0.45, 0.55), horizon)]
    cv2.fillPoly(label, [np.array(sky)], _SKY)
    for _ in range(4):
        radius = int(rng.uniform(0.05, 0.2) * height)
        cv2.circle(label, (across(), horizon - radius // 2), radius, _TREE, -1)
    label[horizon:] = _SIDEWALK
    vanishing = across(0.4, 0.6)
    road = [(vanishing, horizon), (across(0.8, 1.0), height), (across(0.0, 0.2), height)]
    cv2.fillPoly(label, [np.array(road)], _ROAD)
    for _ in range(10):
        nearness = rng.uniform(0.02, 0.35)
        left, bottom = across(), horizon + int(nearness * height)
        right, top = left + int(0.8 * nearness * height), bottom - int(0.5 * nearness * height)
        cv2.rectangle(label, (left, top), (right, bottom), _CAR, -1)
    for _ in range(8):
        centre = across(), horizon + int(rng.uniform(0, 0.1) * height)
        cv2.ellipse(label, centre, (max(width // 150, 1), height // 25), 0, 0, 360, _PERSON, -1)
    for _ in range(8):
        x, top = across(), int(rng.uniform(0.1, 0.3) * height)
        cv2.line(label, (x, top), (x, horizon + height // 10), _POLE, max(width // 400, 1))
        cv2.circle(label, (x, top), max(height // 60, 1), _SIGN, -1)
    label[-(height // 16) :] = IGNORE_LABEL  # the car that the camera is on
    return label


def _smooth(
    rng: np.random.Generator, size: tuple[int, int], cells: int, contrast: float
) -> np.ndarray:
    coarse = rng.normal(0, contrast, (cells, 2 * cells, 3)).astype(np.float32)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
