"""Files in, files out: how a task may predict, what it is given, and what has become of it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import rich.console
from etils import epath
from ml_collections import ConfigDict

from gcnet_jax.task.exported import ExportedNetwork
from gcnet_jax.task.networks import PretrainedModel, TrainedModel, TrainedNetwork

M = TypeVar("M")


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


PredictFiles = Callable[
    [TrainedModel[M], ConfigDict, Sequence[Photo], Sequence[Photo], epath.Path, PredictionOptions],
    Written,
]
"""Takes a network, its run's config, image files, videos, the folder of the results, which is
there, and options, and writes what is predicted. There are no videos where `Prediction` has no
results of them. It raises InputError if a result cannot be written."""


@dataclasses.dataclass(frozen=True)
class Prediction(Generic[M]):
    """How a task predicts.

    Attributes:
        network: makes what is called with images, of the config and the model with its weights, or
            the programs of an exported file.
        files: predicts what is in files.
        of_image: how the names of the results of an image end.
        scores: how the name of the file with all scores of an image ends.
        of_video: as `of_image`; none where the task makes nothing of videos.
    """

    network: Callable[[PretrainedModel[M] | ExportedNetwork[M], ConfigDict], TrainedNetwork]
    files: PredictFiles[M]
    of_image: Sequence[str]
    scores: str
    of_video: Sequence[str] = ()
