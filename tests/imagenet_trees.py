"""Small parts of ImageNet on disk in the layouts of the official release."""

import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from gcnet_jax.tasks.classification.data.classes import WORDNET_IDS

CLASSES = (0, 134, 517, 999)
"""Indices of the classes that the trees hold, by the order of WordNet ids."""
PER_CLASS = 3
VAL_LABELS = (517, 0, 999, 134, 517, 0)
"""Class indices of the validation images, in the order of their numbers."""


def challenge_ids() -> dict[int, int]:
    """The number that the challenge gives each class index: another order than that of the ids."""
    order = np.random.default_rng(0).permutation(len(WORDNET_IDS))
    return {int(index): number + 1 for number, index in enumerate(order)}


def colour_of(index: int) -> tuple[int, int, int]:
    """The colour of all images of a class."""
    return index // 4, 255 - index // 4, index % 97


def image_bytes(index: int, size: tuple[int, int] = (20, 24), kind: str = "JPEG") -> bytes:
    """An image file of one colour; `kind` may be "CMYK", which is a JPEG too."""
    image = Image.new("RGB", (size[1], size[0]), colour_of(index))
    buffer = io.BytesIO()
    if kind == "CMYK":
        image.convert("CMYK").save(buffer, "JPEG", quality=95)
    else:
        image.save(buffer, kind, quality=95)
    return buffer.getvalue()


def training_images() -> dict[str, dict[str, bytes]]:
    """By WordNet id the files of its archive, among them a PNG and a CMYK image called JPEG."""
    kinds = {(134, 1): "PNG", (999, 2): "CMYK"}
    return {
        WORDNET_IDS[index]: {
            f"{WORDNET_IDS[index]}_{7 * i}.JPEG": image_bytes(
                index, (20 + i, 24), kinds.get((index, i), "JPEG")
            )
            for i in range(PER_CLASS)
        }
        for index in CLASSES
    }


def validation_images() -> dict[str, bytes]:
    """The files of the validation archive."""
    return {
        f"ILSVRC2012_val_{number:08d}.JPEG": image_bytes(index)
        for number, index in enumerate(VAL_LABELS, 1)
    }


def tar_of(files: dict[str, bytes], **header: int) -> bytes:
    """A plain tar of some files, as the release has them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in header.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def write_archives(folder: Path) -> Path:
    """Writes the three archives, and returns their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    inner = {f"{name}.tar": tar_of(files) for name, files in training_images().items()}
    # The order of the release is that of no list.
    train = {name: inner[name] for name in sorted(inner, reverse=True)}
    (folder / "ILSVRC2012_img_train.tar").write_bytes(tar_of(train))
    (folder / "ILSVRC2012_img_val.tar").write_bytes(tar_of(validation_images()))
    devkit = write_devkit(folder)
    with tarfile.open(folder / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
        tar.add(devkit, devkit.name)
    shutil.rmtree(devkit)
    return folder


def write_folders(folder: Path, *, val_in_classes: bool = False) -> Path:
    """Writes `train/`, `val/` and, unless validation images lie in classes, the devkit's folder."""
    for name, files in training_images().items():
        (folder / "train" / name).mkdir(parents=True)
        for file, content in files.items():
            (folder / "train" / name / file).write_bytes(content)
    for (file, content), index in zip(validation_images().items(), VAL_LABELS, strict=True):
        into = folder / "val" / (WORDNET_IDS[index] if val_in_classes else "")
        into.mkdir(parents=True, exist_ok=True)
        (into / file).write_bytes(content)
    if not val_in_classes:
        write_devkit(folder)
    return folder


def write_devkit(folder: Path) -> Path:
    """Writes `ILSVRC2012_devkit_t12/`, and returns it."""
    data = folder / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    ids = challenge_ids()
    truth = "".join(f"{ids[index]}\n" for index in VAL_LABELS)
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text(truth)
    rows = [(number, WORDNET_IDS[index], "word", 0) for index, number in ids.items()]
    rows.sort()
    rows += [(1001 + i, f"n0000000{i}", "a group of classes", 2) for i in range(3)]
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    synsets = np.array(rows, dtype=kind)[:, None]
    scipy.io.savemat(data / "meta.mat", {"synsets": synsets})
    return data.parent
