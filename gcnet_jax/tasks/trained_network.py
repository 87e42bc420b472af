"""A network with its weights, ready to take images, as all tasks have it."""

import abc
import os
from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar, cast, overload

import jax
import numpy as np
from flax import nnx
from jaxtyping import UInt8
from ml_collections import ConfigDict
from PIL import Image

from gcnet_jax.data import displayed_pixels, read_rgb
from gcnet_jax.errors import InputError
from gcnet_jax.files import as_path
from gcnet_jax.models import split_for_evaluation
from gcnet_jax.ops import check_pixels_of_image
from gcnet_jax.task import (
    CompiledProgram,
    Export,
    ExportedNetwork,
    PretrainedModel,
    RunProgram,
)
from gcnet_jax.tasks.named_classes import NamedClasses

ImageInput = str | os.PathLike | Image.Image | UInt8[np.ndarray, "h w 3"]
"""What stands for an image: a path, a Pillow image, or an RGB array of 8 bits."""

Network = TypeVar("Network", bound=nnx.Module)
Classes = TypeVar("Classes", bound=NamedClasses)
Result = TypeVar("Result")


class TrainedOnClasses(abc.ABC, Generic[Network, Classes, Result]):
    """A network that tells classes apart: called with an image, it returns what it sees there.

    Args:
        network: the model with the weights of a checkpoint, or the programs of an exported file.
        config: of the run.

    Attributes:
        model: the network, an `nnx.Module` in evaluation mode, as it was loaded.
        config: of the run, which says how images go through.
        classes: what the network tells apart, by index.
        source: the file or folder that the weights are from.
    """

    def __init__(
        self, network: PretrainedModel[Classes] | ExportedNetwork[Classes], config: ConfigDict
    ):
        self.config = config
        self.classes = network.meaning
        self.source = network.source
        self._network = network

    @property
    def model(self) -> Network:
        """The network, an `nnx.Module` in evaluation mode, as it was loaded.

        Raises:
            InputError: it is an exported file's, which has programs in place of a model.
        """
        if isinstance(self._network, ExportedNetwork):
            raise InputError(
                f"{self.source} is an exported file, which has programs and no model; load the run "
                "that it is from"
            )
        return cast(Network, self._network.model)

    def _run_program(self, name: str, export: Export) -> RunProgram:
        """A program of the network: of the file, or compiled on first use."""
        if isinstance(self._network, ExportedNetwork):
            return self._network.programs[name]
        graphdef, variables = split_for_evaluation(self.model)
        return CompiledProgram(export.programs(graphdef, self.config)[name], variables)

    @overload
    def __call__(self, images: list[ImageInput] | tuple[ImageInput, ...]) -> list[Result]: ...
    @overload
    def __call__(self, images: ImageInput) -> Result: ...
    def __call__(self, images: ImageInput | Sequence[ImageInput]) -> Result | list[Result]:
        """Looks at an image, or at a list of images in batches.

        Args:
            images: the path of an image file, a Pillow image, or an RGB array of 8 bits `(height,
                width, 3)`; or a list of such. They may have any sizes.

        Returns:
            The result; for a list a list of results in its order.

        Raises:
            InputError: one of them is no image, or cannot be read.
        """
        if isinstance(images, list | tuple):
            return list(self.results(images))
        (result,) = self.results([cast(ImageInput, images)])
        return result

    @abc.abstractmethod
    def results(self, images: Sequence[ImageInput]) -> Iterable[Result]:
        """The results of images in order; errors as of `__call__`."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.source)!r}, {self.classes.num_classes} classes)"


def pixels_of(image: Any, *, max_pixels: int) -> UInt8[np.ndarray, "h w 3"]:
    """The RGB pixels of an image, as it is displayed.

    Args:
        image: an `ImageInput`.
        max_pixels: most pixels of a file.

    Raises:
        InputError: it is no image, or cannot be read.
    """
    if isinstance(image, str | os.PathLike):
        return read_rgb(as_path(image), max_pixels=max_pixels)
    if isinstance(image, Image.Image):
        return displayed_pixels(image)
    if isinstance(image, np.ndarray | jax.Array):
        pixels = np.asarray(image)
        check_pixels_of_image(pixels)
        return pixels
    raise InputError(
        f"the image is a {type(image).__name__}; expected a path, a Pillow image, or an RGB "
        "array of 8 bits"
    )
