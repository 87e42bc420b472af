"""Files in, files out: what prediction is given, and what has become of it, for every task."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import rich.console
from etils import epath

from gcnet_jax.errors import InputError


class Photo(NamedTuple):
    """An image file or a video.

    Attributes:
        path: of the file.
        name: of its results in their folder.
        called: by messages, where not by its path.
    """

    path: epath.Path
    name: str
    called: str | None = None


class Written(NamedTuple):
    """What became of images and videos.

    Attributes:
        done: how many images there are results of.
        frames: how many frames of each video that became one, by the path of the result.
        errors: of each other image and video, why not.
    """

    done: int
    frames: Mapping[epath.Path, int]
    errors: Sequence[str]


class PredictionOptions(NamedTuple):
    """How results are written.

    Attributes:
        source: the weights, for the page of all results.
        legend: whether the names of classes stand below pictures.
        with_scores: whether to write all scores too, as float32.
        max_pixels: most pixels of an image or a frame.
        overwrite: whether a page that is not of predictions is replaced.
        console: for the progress, and for the errors of files that cannot be read.
    """

    source: str
    legend: bool
    with_scores: bool
    max_pixels: int
    overwrite: bool
    console: rich.console.Console


def told(error: InputError, photo: Photo, console: rich.console.Console) -> str:
    """What is wrong with a file, once the user has been told."""
    said = str(error)
    if photo.called is not None:
        said = said.replace(str(photo.path), photo.called)
    console.print(f"left out: {said}", markup=False, highlight=False, soft_wrap=True)
    return said


def as_percent(share: float) -> str:
    """A share or a probability in words."""
    return f"{100 * share:.0f}%" if share >= 0.01 else "<1%"
