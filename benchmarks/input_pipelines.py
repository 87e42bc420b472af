"""The training input pipelines of segmentation that can be measured: ours and mmsegmentation's."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import rich.progress
from ml_collections import ConfigDict
from PIL import Image

from benchmarks.peer import import_peer
from benchmarks.scenes import (
    DATASET,
    SPLIT,
    Scene,
    draw_scene,
    prepare_scenes,
    write_scenes,
)
from gcnet_jax.cli.timing import CONSOLE
from gcnet_jax.config import Pixels
from gcnet_jax.data import Split
from gcnet_jax.data.image_coding import decode_rgb, encode_plain
from gcnet_jax.tasks.segmentation.data import DATA_SETS, decode, transforms
from gcnet_jax.tasks.segmentation.data.training_batches import RandomTransform

STAGES: tuple[str, ...] = ("read", "image", "label", "crop", "colours", "rest")
"""Parts of the work: to read the stored bytes; to decode the image; to decode the label; to resize
and crop both; to distort colours; the rest, such as flips and padding."""

STORAGES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"png": (".png", ".png"), "uncompressed": (".ppm", ".pgm")}
)
"""How pixels are stored, and the suffixes of the files of image and label."""


class InputPipeline(Protocol):
    """What makes training images of stored ones.

    Attributes:
        name: whose it is.
        storage: what it reads, such as a key of ``STORAGES``.
    """

    name: str
    storage: str

    def make(self, index: int, seed: int) -> Any:
        """Reads the image of that index and transforms it at random."""
        ...

    def stage_seconds(self, images: int) -> dict[str, float]:
        """Makes that many images, and returns the processor's seconds for each stage."""
        ...


class Contestants(NamedTuple):
    """What is measured in turn.

    Attributes:
        pipelines: each a library and a way of storing images.
        stages: parts of the work that all of them tell apart.
        basis: name and storage of the one that the others are compared with, where it is there.
    """

    pipelines: Sequence[InputPipeline]
    stages: Sequence[str]
    basis: tuple[str, str]


def label_pipelines(
    config: ConfigDict, folder: Path, size: tuple[int, int], images: int, peer: bool
) -> Contestants:
    """Draws street scenes with labels, and returns the pipelines that take turns on them.

    Args:
        config: of a segmentation run; its data set does not matter.
        folder: an empty one.
        size: (height, width) of the images.
        images: how many.
        peer: whether mmsegmentation's pipeline takes turns.
    """
    scenes = (
        draw_scene(seed, size)
        for seed in rich.progress.track(range(images), "drawing images", console=CONSOLE)
    )
    write_source(scenes, folder)
    pipelines: list[InputPipeline] = [OurPipeline(config.data, folder, x) for x in STORAGES]
    if peer:
        pipelines += [PeerPipeline(config.data, folder, x) for x in STORAGES]
    return Contestants(pipelines, STAGES, (PeerPipeline.name, "png"))


def write_source(scenes: Iterable[Scene], folder: Path) -> None:
    """Writes scenes as `write_scenes` does, and each file uncompressed beside, for the peer."""
    folder.mkdir(parents=True, exist_ok=True)
    write_scenes(folder, scenes, num_classes=19)
    for path in sorted(folder.glob("*/*.png")):
        pixels = np.array(Image.open(path))
        suffix = ".ppm" if pixels.ndim == 3 else ".pgm"
        path.with_suffix(suffix).write_bytes(encode_plain(pixels))


# Ours --------------------------------------------------------------------------------------------


class OurPipeline:
    """From a record file to an image ready for a batch."""

    name = "gcnet_jax"

    def __init__(self, data_config: ConfigDict, source: Path, storage: str):
        self.storage = storage
        pixels: Pixels = "uncompressed" if storage == "uncompressed" else "as_found"
        prepare_scenes(source, source / pixels, pixels)
        self._records = DATA_SETS.open_split(DATASET, source / pixels, SPLIT)
        self._transform = RandomTransform.from_config(data_config)

    def make(self, index: int, seed: int) -> dict[str, np.ndarray]:
        """Reads the image of that index and transforms it at random."""
        return self._transform(self._records[index], np.random.default_rng([seed, index]))

    def stage_seconds(self, images: int) -> dict[str, float]:
        """Makes that many images, and returns the processor's seconds for each of ``STAGES``."""
        functions = (
            type(self).make,
            Split.__getitem__,
            decode,
            decode_rgb,
            transforms.draw_crop,
            transforms.resize,
            transforms.distort_photometric,
        )
        with processor_seconds(functions) as spent:
            for index in range(images):
                self.make(index, seed=0)
        stages = {
            "read": spent[Split.__getitem__],
            "image": spent[decode_rgb],
            "label": spent[decode] - spent[decode_rgb],
            "crop": spent[transforms.draw_crop] + spent[transforms.resize],
            "colours": spent[transforms.distort_photometric],
        }
        return stages | {"rest": spent[type(self).make] - sum(stages.values())}


@contextlib.contextmanager
def processor_seconds(functions: Iterable[Callable]) -> Iterator[Mapping[Any, float]]:
    """The processor's seconds in each of some functions, with all they call, while in the context.

    Not by cProfile: those of Python 3.12.1 and 3.13.0 lose ends of calls in here, and give their
    time to others.

    Args:
        functions: none of which calls itself.
    """
    codes: dict[Any, Callable] = {function.__code__: function for function in functions}
    spent = dict.fromkeys(codes.values(), 0.0)
    began: dict[Any, float] = {}

    def listen(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if code not in codes:
            return
        if event == "call":
            began[code] = time.process_time()
        elif event == "return":
            spent[codes[code]] += time.process_time() - began[code]

    before = sys.getprofile()
    sys.setprofile(listen)
    try:
        yield spent
    finally:
        sys.setprofile(before)


# mmsegmentation's --------------------------------------------------------------------------------


class PeerPipeline:
    """The training transforms of mmsegmentation's configs, from image files to tensors.

    It pads and normalises later, with the network, which is not measured here.
    """

    name = "mmsegmentation"

    def __init__(self, data_config: ConfigDict, source: Path, storage: str):
        self.storage = storage
        self._source = source
        import_peer("torch").set_num_threads(1)
        # The order matters: to import mmseg needs what stands in for mmcv's operators.
        theirs = import_peer("mmseg.datasets.transforms")
        common = import_peer("mmcv.transforms")
        config: Any = data_config  # its values have no static types
        scale, ratios = tuple(config.base_scale), tuple(config.scale_range)
        crop_size = tuple(config.crop_size)
        self._transforms = [
            ("image", common.LoadImageFromFile()),
            ("label", theirs.LoadAnnotations()),
            (
                "crop",
                common.RandomResize(scale=scale, ratio_range=ratios, keep_ratio=True),
            ),
            (
                "crop",
                theirs.RandomCrop(crop_size=crop_size, cat_max_ratio=config.cat_max_ratio),
            ),
            ("rest", common.RandomFlip(prob=config.flip_probability)),
            ("rest", theirs.PackSegInputs()),
        ]
        if config.photometric_distortion:
            self._transforms.insert(-1, ("colours", theirs.PhotoMetricDistortion()))

    def make(self, index: int, seed: int) -> Any:
        """Reads the image of that index and transforms it at random."""
        return self._make(index, seed, dict.fromkeys(STAGES, 0.0))

    def stage_seconds(self, images: int) -> dict[str, float]:
        """Makes that many images, and returns the processor's seconds for each of ``STAGES``."""
        seconds = dict.fromkeys(STAGES, 0.0)  # it reads while it decodes
        for index in range(images):
            self._make(index, 0, seconds)
        return seconds

    def _make(self, index: int, seed: int, seconds: dict[str, float]) -> Any:
        np.random.seed(1000 * seed + index)  # whence mmsegmentation draws
        image_suffix, label_suffix = STORAGES[self.storage]
        results: Any = {
            "img_path": str(self._source / "image" / f"{index:04d}{image_suffix}"),
            "seg_map_path": str(self._source / "label" / f"{index:04d}{label_suffix}"),
            "label_map": None,
            "reduce_zero_label": False,
            "seg_fields": [],
        }
        for stage, transform in self._transforms:
            start = time.process_time()
            results = transform(results)
            seconds[stage] += time.process_time() - start
        return results
