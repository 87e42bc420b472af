"""The training input pipelines of detectors: ours, and the steps of mmdetection 3.3.0.

mmdetection itself cannot be installed without compiled operators of mmcv. What its transforms and
its data preprocessor do to an image is done here by the functions of mmcv and PyTorch that they
call, in the same order and on the same types.
"""

import functools
import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import pycocotools.mask
import rich.progress
from ml_collections import ConfigDict

from benchmarks.input_pipelines import Contestants, processor_seconds
from benchmarks.peer import import_peer
from benchmarks.scenes import draw_scene
from gcnet_jax.cli.timing import CONSOLE
from gcnet_jax.config import Pixels
from gcnet_jax.data import Split, resize_image
from gcnet_jax.data.image_coding import decode_rgb, encode_plain
from gcnet_jax.tasks.detection.data import DATA_SETS, RandomTransform, prepare_coco_json
from gcnet_jax.tasks.detection.data.training_batches import random_transform
from gcnet_jax.tasks.detection.data.training_shapes import training_images
from gcnet_jax.tasks.detection.data.transforms import resize_masks

STAGES: tuple[str, ...] = ("read", "image", "resize", "masks", "rest", "normalise", "batch")
"""Parts of the work: to read the stored bytes; to decode the image; to resize it; masks, from how
they are stored to pixels of the resized image; the rest, such as flips; to normalise, which ours
leaves to the device; padding and what a batch is stacked of."""

STORAGES: Mapping[str, str] = MappingProxyType({"jpeg": ".jpg", "uncompressed": ".ppm"})
"""How pixels are stored, and the suffix of the files."""

_SET, _SPLIT = "drawn", "train"
_JPEG_QUALITY = 92
_OBJECTS = 7  # in an image of COCO
_LARGEST_SHARE = 0.6  # of the long edge
_CORNERS = 24  # of a polygon
_UPRIGHT = 4  # each fourth image
_ROOM = 96  # for the objects that COCO has at most


def object_pipelines(
    config: ConfigDict, folder: Path, size: tuple[int, int], images: int, peer: bool
) -> Contestants:
    """Draws photographs with objects, and returns the pipelines that take turns on them.

    Args:
        config: of a detection run; its data set does not matter.
        folder: an empty one.
        size: (height, width) of the photographs; each fourth stands upright.
        images: how many.
        peer: whether mmdetection's steps take turns.
    """
    height, width = size
    sizes = [(width, height) if not index % _UPRIGHT else size for index in range(images)]
    annotations = _write_source(folder, sizes)
    pipelines: list[Any] = [_OurPipeline(config, folder, storage) for storage in STORAGES]
    if peer:
        pipelines += [_PeerPipeline(config, folder, annotations, x) for x in STORAGES]
    return Contestants(pipelines, STAGES, (_PeerPipeline.name, "jpeg"))


def _write_source(folder: Path, sizes: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Writes the images, in each way, and their annotations; returns these by image."""
    annotations = []
    for index, size in enumerate(
        rich.progress.track(sizes, "drawing images", console=CONSOLE), start=1
    ):
        pixels = draw_scene(index, size).image
        written = cv2.imencode(
            ".jpg",
            cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR),
            [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY],
        )[1]
        (folder / f"{index}.jpg").write_bytes(written.tobytes())
        (folder / f"{index}.ppm").write_bytes(encode_plain(pixels))
        polygons = _polygons(np.random.default_rng(index), size)
        annotations.append({"name": str(index), "size": size, "polygons": polygons})
    for suffix in STORAGES.values():
        (folder / f"{suffix[1:]}.json").write_text(json.dumps(_as_coco(annotations, suffix)))
    return annotations


def _polygons(rng: np.random.Generator, size: tuple[int, int]) -> list[list[float]]:
    """Outlines of objects from 16 pixels up, small ones as often as large ones."""
    height, width = size
    polygons = []
    for _ in range(_OBJECTS):
        diameter = np.exp(rng.uniform(np.log(16), np.log(_LARGEST_SHARE * max(size))))
        centre = rng.uniform(0.1, 0.9, 2) * [width, height]
        angles = np.sort(rng.uniform(0, 2 * np.pi, _CORNERS))
        radii = diameter / 2 * rng.uniform(0.7, 1, _CORNERS)
        corners = centre + np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)
        polygons.append(corners.clip(0, [width, height]).ravel().tolist())
    return polygons


def _as_coco(annotations: list[dict[str, Any]], suffix: str) -> dict[str, Any]:
    images, objects = [], []
    for number, of_image in enumerate(annotations, start=1):
        height, width = of_image["size"]
        name = of_image["name"] + suffix
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for polygon in of_image["polygons"]:
            x, y, box_width, box_height = _box(polygon)
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [x, y, box_width, box_height],
                    "area": box_width * box_height,
                    "segmentation": [polygon],
                }
            )
    categories = [{"id": 1, "name": "thing"}]
    return {"images": images, "annotations": objects, "categories": categories}


def _box(polygon: list[float]) -> tuple[float, float, float, float]:
    corners = np.array(polygon).reshape(-1, 2)
    (left, top), (right, bottom) = corners.min(0), corners.max(0)
    return float(left), float(top), float(right - left), float(bottom - top)


# Ours --------------------------------------------------------------------------------------------


class _OurPipeline:
    """From a record file to a batch of one image, with room for the objects of COCO."""

    name = "gcnet_jax"

    def __init__(self, config: ConfigDict, source: Path, storage: str):
        self.storage = storage
        pixels: Pixels = "uncompressed" if storage == "uncompressed" else "as_found"
        data_dir = source / storage
        prepare_coco_json(
            _SET,
            data_dir,
            train_json=source / f"{STORAGES[storage][1:]}.json",
            train_images=source,
            val_json=source / f"{STORAGES[storage][1:]}.json",
            pixels=pixels,
        )
        config = config.copy_and_resolve_references()
        config.data.update({"name": _SET, "data_dir": str(data_dir), "train_split": _SPLIT})
        config.data.max_objects = config.data.max_objects or _ROOM
        self._records = DATA_SETS.open_split(_SET, data_dir, _SPLIT)
        images = training_images(config)
        self._transform = random_transform(config, images)
        self._buckets = {
            int(image): bucket for bucket, members in enumerate(images.members) for image in members
        }

    def make(self, index: int, seed: int) -> Any:
        """Reads the image of that index and transforms it at random."""
        rng = np.random.default_rng([seed, index])
        sample = self._transform(self._records[index], self._buckets[index], rng)
        return self._transform.whole(self._transform.batch([sample]))

    def stage_seconds(self, images: int) -> dict[str, float]:
        """Makes that many images, and returns the processor's seconds for each of `STAGES`."""
        functions = (
            type(self).make,
            RandomTransform.batch,
            RandomTransform.whole,
            Split.__getitem__,
            decode_rgb,
            resize_image,
            resize_masks,
        )
        with processor_seconds(functions) as spent:
            for index in range(images):
                self.make(index, seed=0)
        stages = {
            "read": spent[Split.__getitem__],
            "image": spent[decode_rgb],
            "resize": spent[resize_image],
            "masks": spent[resize_masks],
            "normalise": 0.0,
            "batch": spent[RandomTransform.batch] + spent[RandomTransform.whole],
        }
        return stages | {"rest": spent[type(self).make] - sum(stages.values())}


# mmdetection's steps -----------------------------------------------------------------------------


class _PeerPipeline:
    """The steps of mmdetection's transforms and data preprocessor, to a batch of one image."""

    name = "mmdetection's steps"

    def __init__(
        self, config: ConfigDict, source: Path, annotations: list[dict[str, Any]], storage: str
    ):
        self.storage = storage
        self._source, self._annotations = source, annotations
        self._scale = tuple(config.data.base_scale)
        self._flip_probability = config.data.flip_probability
        self._mmcv, self._torch = import_peer("mmcv"), import_peer("torch")
        self._torch.set_num_threads(1)
        self._mean, self._std = (
            self._torch.tensor(values).view(-1, 1, 1)
            for values in ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
        )

    def make(self, index: int, seed: int) -> Any:
        """Reads the image of that index and transforms it at random."""
        return self._make(index, seed, dict.fromkeys(STAGES, 0.0))

    def stage_seconds(self, images: int) -> dict[str, float]:
        """Makes that many images, and returns the processor's seconds for each of `STAGES`."""
        seconds = dict.fromkeys(STAGES, 0.0)  # it reads while it decodes
        for index in range(images):
            self._make(index, 0, seconds)
        return seconds

    def _make(self, index: int, seed: int, seconds: dict[str, float]) -> Any:
        flip = np.random.default_rng([seed, index]).random() < self._flip_probability
        of_image = self._annotations[index]
        clock = _Clock(seconds)

        # LoadImageFromFile, LoadAnnotations
        path = self._source / f"{of_image['name']}{STORAGES[self.storage]}"
        image = self._mmcv.imfrombytes(path.read_bytes(), flag="color", backend="cv2")
        clock.stop("image")
        height, width = image.shape[:2]
        masks = np.stack([_drawn(polygon, height, width) for polygon in of_image["polygons"]])
        clock.stop("masks")
        boxes = self._torch.tensor([_box(polygon) for polygon in of_image["polygons"]])
        boxes = self._torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1)
        clock.stop("rest")

        # Resize
        image = self._mmcv.imrescale(image, self._scale, backend="cv2")
        clock.stop("resize")
        nearest = functools.partial(
            self._mmcv.imrescale, scale=self._scale, interpolation="nearest"
        )
        masks = np.stack([nearest(mask) for mask in masks])
        clock.stop("masks")
        new_height, new_width = image.shape[:2]
        boxes = boxes * boxes.new_tensor([new_width / width, new_height / height] * 2)
        boxes[:, 0::2] = boxes[:, 0::2].clamp(0, new_width)
        boxes[:, 1::2] = boxes[:, 1::2].clamp(0, new_height)

        # RandomFlip, PackDetInputs
        if flip:
            image = self._mmcv.imflip(image, direction="horizontal")
            boxes = self._torch.stack(
                [new_width - boxes[:, 2], boxes[:, 1], new_width - boxes[:, 0], boxes[:, 3]], dim=1
            )
            clock.stop("rest")
            masks = np.stack([self._mmcv.imflip(mask, direction="horizontal") for mask in masks])
            clock.stop("masks")
        if image.flags.c_contiguous:
            tensor = self._torch.from_numpy(image).permute(2, 0, 1).contiguous()
        else:
            tensor = self._torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        clock.stop("rest")

        # DetDataPreprocessor
        tensor = (tensor[[2, 1, 0], ...].float() - self._mean) / self._std
        clock.stop("normalise")
        array = [-(-length // 32) * 32 for length in (new_height, new_width)]
        padding = (0, array[1] - new_width, 0, array[0] - new_height)
        batch = self._torch.stack([self._torch.nn.functional.pad(tensor, padding, value=0)])
        masks = np.stack([self._mmcv.impad(mask, shape=tuple(array), pad_val=0) for mask in masks])
        clock.stop("batch")
        return batch, boxes, masks


def _drawn(polygon: list[float], height: int, width: int) -> np.ndarray:
    """`LoadAnnotations._poly2mask`."""
    run_lengths: Any = pycocotools.mask.frPyObjects([polygon], height, width)  # pyright: ignore
    return pycocotools.mask.decode(pycocotools.mask.merge(run_lengths))


class _Clock:
    """Adds the processor's time since it was last stopped to stages."""

    def __init__(self, seconds: dict[str, float]):
        self._seconds, self._start = seconds, time.process_time()

    def stop(self, stage: str) -> None:
        """Adds it to a stage."""
        now = time.process_time()
        self._seconds[stage] += now - self._start
        self._start = now
