"""The training input pipelines that can be measured: ours and mmsegmentation's."""

import cProfile
import pstats
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter
from ml_collections import ConfigDict
from PIL import Image

from gcnet_jax.cli.benchmarks.peer import import_peer
from gcnet_jax.cli.benchmarks.scenes import Scene
from gcnet_jax.data import Record, decode, transforms
from gcnet_jax.data.pipeline import RandomTransform
from gcnet_jax.data.records import decode_rgb, encode_png

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
        storage: what it reads, a key of ``STORAGES``.
    """

    name: str
    storage: str

    def make(self, index: int, seed: int) -> Any:
        """Reads the image of that index and transforms it at random."""
        ...

    def stage_seconds(self, images: int) -> dict[str, float]:
        """Makes that many images, and returns the processor's seconds for each of ``STAGES``."""
        ...


def write_source(scenes: Iterable[Scene], folder: Path) -> None:
    """Writes scenes as files `image/NUMBER.png`, `label/NUMBER.png`, and as `.ppm` and `.pgm`."""
    for part in ("image", "label"):
        (folder / part).mkdir(parents=True)
    for index, scene in enumerate(scenes):
        image, label = (_path(folder, part, index, "") for part in ("image", "label"))
        # Pillow chooses a filter for every row, as is usual in PNG files and OpenCV does not.
        Image.fromarray(scene.image).save(image.with_suffix(".png"))
        label.with_suffix(".png").write_bytes(encode_png(scene.label))
        image.with_suffix(".ppm").write_bytes(_plain(b"P6", scene.image))
        label.with_suffix(".pgm").write_bytes(_plain(b"P5", scene.label))


def _path(folder: Path, part: str, index: int, suffix: str) -> Path:
    return folder / part / f"{index:04d}{suffix}"


def _plain(kind: bytes, pixels: np.ndarray) -> bytes:
    return b"%b\n%d %d\n255\n" % (kind, pixels.shape[1], pixels.shape[0]) + pixels.tobytes()


# Ours --------------------------------------------------------------------------------------------


class OurPipeline:
    """From a record file to an image ready for a batch."""

    name = "gcnet_jax"

    def __init__(self, data_config: ConfigDict, source: Path, storage: str):
        self.storage = storage
        self._records = _Records(source, storage)
        self._transform = RandomTransform.from_config(data_config)

    def make(self, index: int, seed: int) -> dict[str, np.ndarray]:
        """Reads the image of that index and transforms it at random."""
        return self._transform(self._records[index], np.random.default_rng([seed, index]))

    def stage_seconds(self, images: int) -> dict[str, float]:
        """Makes that many images, and returns the processor's seconds for each of ``STAGES``."""
        profile = cProfile.Profile(time.process_time)
        for index in range(images):
            profile.runcall(self.make, index, seed=0)
        times: dict = pstats.Stats(profile).stats  # pyright: ignore[reportAttributeAccessIssue]

        def spent(*functions: Callable) -> float:
            codes = [function.__code__ for function in functions]
            keys = [(code.co_filename, code.co_firstlineno, code.co_name) for code in codes]
            return sum(times[key][3] for key in keys if key in times)  # with all they call

        stages = {
            "read": spent(_Records.__getitem__),
            "image": spent(decode_rgb),
            "label": spent(decode) - spent(decode_rgb),
            "crop": spent(transforms.draw_crop, transforms.resize),
            "colours": spent(transforms.distort_photometric),
        }
        return stages | {"rest": spent(type(self).make) - sum(stages.values())}


class _Records:
    """The scenes of a folder as records of one storage, read from an ``array_record`` file."""

    _FEATURES = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.Image(shape=(None, None, 1)),
            "name": tfds.features.Text(),
            "size": tfds.features.Tensor(shape=(2,), dtype=np.int32),
        }
    )

    def __init__(self, source: Path, storage: str):
        file = source / f"{storage}.array_record"
        # Compressing pixels would save room, but to undo it takes longer than all transforms.
        options = "group_size:1,uncompressed" if storage == "uncompressed" else "group_size:1"
        writer = ArrayRecordWriter(str(file), options)
        image_suffix, label_suffix = STORAGES[storage]
        for index in range(len(list(source.glob("label/*.png")))):
            record = {
                "image": _path(source, "image", index, image_suffix).read_bytes(),
                "label": _path(source, "label", index, label_suffix).read_bytes(),
                "name": str(index),
                "size": np.zeros(2, np.int32),
            }
            writer.write(self._FEATURES.serialize_example(record))
        writer.close()
        self._source = ArrayRecordDataSource(str(file))

    def __getitem__(self, index: int) -> Record:
        still_encoded = tfds.decode.SkipDecoding()
        record: Any = self._FEATURES.deserialize_example_np(
            self._source[index], decoders={"image": still_encoded, "label": still_encoded}
        )
        return record


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
            "img_path": str(_path(self._source, "image", index, image_suffix)),
            "seg_map_path": str(_path(self._source, "label", index, label_suffix)),
            "label_map": None,
            "reduce_zero_label": False,
            "seg_fields": [],
        }
        for stage, transform in self._transforms:
            start = time.process_time()
            results = transform(results)
            seconds[stage] += time.process_time() - start
        return results
