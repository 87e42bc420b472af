"""PASCAL VOC 2012 with the additional annotations of SBD, 21 classes.

Everingham et al., "The PASCAL Visual Object Classes Challenge", IJCV 2010; Hariharan et al.,
"Semantic Contours from Inverse Detectors", ICCV 2011 (the Semantic Boundaries Dataset). SBD
annotates images of VOC, some of them in VOC's own training and validation splits: training takes
whatever either has, VOC's own labels where there are any, and nothing of VOC's validation split.
"""

import functools
from collections.abc import Collection, Sequence

import numpy as np
import scipy.io
from etils import epath
from jaxtyping import UInt8

from gcnet_jax.data.examples import Examples, OfficialSet, Part
from gcnet_jax.errors import InputError
from gcnet_jax.files import open_regular, read_regular
from gcnet_jax.tasks.segmentation.data.catalog import CATALOG
from gcnet_jax.tasks.segmentation.data.sources.file_pairs import FilePair
from gcnet_jax.tasks.segmentation.data.sources.labels import LabelTable, read_label_image

VOC_FOLDER = "VOCdevkit/VOC2012"
SBD_FOLDER = "benchmark_RELEASE/dataset"

LABELS = LabelTable.of_indices(CATALOG["voc12aug"].num_classes)


def find_examples(roots: Sequence[epath.Path], splits: Collection[str]) -> Examples:
    """Finds the images of some splits by the lists of the two releases.

    Args:
        roots: where VOC is, and for training SBD too.
        splits: of `train` and `val`.

    Raises:
        InputError: if a list is missing or empty, or names a file that is not there.
    """
    voc, sbd = roots[0] / VOC_FOLDER, roots[-1] / SBD_FOLDER
    voc_val = _read_list(voc / "ImageSets" / "Segmentation" / "val.txt")
    examples: dict[str, Sequence[FilePair]] = {}
    if "train" in splits:
        voc_train = _read_list(voc / "ImageSets" / "Segmentation" / "train.txt")
        sbd_all = _read_list(sbd / "train.txt") | _read_list(sbd / "val.txt")
        examples["train"] = _pairs(voc, sbd, own=voc_train, added=sbd_all - voc_train - voc_val)
    if "val" in splits:
        examples["val"] = _pairs(voc, sbd, own=voc_val, added=set())
    return examples


def _read_list(path: epath.Path) -> set[str]:
    if not path.exists():
        raise InputError(f"{path} is missing; expected the names of a split's images, one a line")
    names = set(read_regular(path).decode(errors="surrogateescape").split())
    if not names:
        raise InputError(f"{path} is empty; expected the names of a split's images, one a line")
    return names


def _pairs(
    voc: epath.Path, sbd: epath.Path, *, own: set[str], added: set[str]
) -> Sequence[FilePair]:
    """The examples of a split: those that VOC labels itself, and those that only SBD does."""
    images = _Folder(voc / "JPEGImages")
    own_labels, added_labels = _Folder(voc / "SegmentationClass"), _Folder(sbd / "cls")
    return [
        FilePair(name, images.file(f"{name}.jpg"), own_labels.file(f"{name}.png"), _read_own_label)
        if name in own
        else FilePair(name, images.file(f"{name}.jpg"), added_labels.file(f"{name}.mat"), read_mat)
        for name in sorted(own | added)
    ]


class _Folder:
    """A folder that is listed once: asking for each of ten thousand files takes long."""

    def __init__(self, path: epath.Path):
        self._path = path

    @functools.cached_property
    def _names(self) -> frozenset[str]:
        if not self._path.is_dir():
            raise InputError(f"{self._path} is missing")
        return frozenset(path.name for path in self._path.iterdir())

    def file(self, name: str) -> epath.Path:
        if name not in self._names:
            raise InputError(f"{self._path / name} is missing, and a list names it")
        return self._path / name


_read_own_label = functools.partial(read_label_image, table=LABELS)


def read_mat(path: epath.Path, max_pixels: int) -> UInt8[np.ndarray, "h w"]:
    """Reads a label of SBD, a MATLAB file with the field `GTcls.Segmentation`.

    Args:
        path: of the file.
        max_pixels: of images; these files are as large as they are.

    Raises:
        InputError: if the file is not such a file or holds a value that is no class.
    """
    try:
        with open_regular(path) as file:
            values = scipy.io.loadmat(file)["GTcls"]["Segmentation"][0, 0]
    except InputError:
        raise
    except Exception as error:  # SciPy raises ValueError, KeyError, TypeError, zlib.error and more
        raise InputError(
            f"{path}: not a label of SBD, a whole MATLAB file with GTcls.Segmentation ({error!r})"
        ) from error
    if values.ndim != 2 or not np.array_equal(values, values.astype(np.uint8)):
        raise InputError(
            f"{path}: GTcls.Segmentation is {values.dtype} of shape {values.shape}; "
            "expected two axes and whole numbers in 0..255"
        )
    return LABELS.apply(values.astype(np.uint8), path)


VOC12AUG = OfficialSet(
    name="voc12aug",
    description="PASCAL VOC 2012 with the additional annotations of SBD, 21 classes.",
    find_examples=find_examples,
    splits=("train", "val"),
    parts=(
        Part((VOC_FOLDER,), "VOCtrainval_11-May-2012.tar"),
        Part((SBD_FOLDER,), "benchmark.tgz", splits=("train",)),
    ),
    counts={"train": 10582, "val": 1449},
)
