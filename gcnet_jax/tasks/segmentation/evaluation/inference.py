"""Images through the network: a batch of several sizes, each at one scale or more, and mirrored."""

import abc
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Integer, PyTree, UInt8
from ml_collections import ConfigDict

from gcnet_jax.models import merge
from gcnet_jax.ops import normalize_images
from gcnet_jax.parallel import SPATIAL_AXIS, batch_sharding, compile_for, on_each_device
from gcnet_jax.tasks.segmentation.data import ScaledImages
from gcnet_jax.tasks.segmentation.evaluation.inference_modes import LogitsGrid, inference_mode
from gcnet_jax.tasks.segmentation.evaluation.pixel_scores import View, create_view, mirror

Logits = list[list[Float[Array, "b h w classes"]]]
"""Logits of a batch: for each scale those of the images, and perhaps of the mirrored images."""

DecodePass = Callable[..., Float[Array, "b h w classes"]]
"""Takes variables, images and their sizes to logits."""


class Inference(abc.ABC):
    """A network's way from 8-bit images to views, in two steps that can be compiled apart.

    Args:
        config: the `evaluation` section of the run's config, see `inference_mode`.
        mirrored_too: whether each image also goes through the network mirrored left to right.

    Raises:
        InputError: see `inference_mode`.
    """

    def __init__(self, config: ConfigDict, *, mirrored_too: bool):
        self._mode = inference_mode(config)
        self._passes = (False, True) if mirrored_too else (False,)
        # Apart from the network, which is then compiled once for both passes.
        self._mirror = jax.jit(_mirror)

    @property
    @abc.abstractmethod
    def decode_pass(self) -> DecodePass:
        """Takes variables, images and their sizes to logits, at one scale and either way round."""

    @abc.abstractmethod
    def _grid(self, variables: PyTree) -> LogitsGrid:
        """Where logits lie."""

    def decode(self, variables: PyTree, scaled: Sequence[ScaledImages]) -> Logits:
        """The logits of a batch; one program for each shape of images is compiled and kept.

        Args:
            variables: of the model.
            scaled: the batch at each scale. Entries of no size come out as anything.
        """
        return [
            [
                self.decode_pass(
                    variables, self._mirror(*images) if mirrored else images[0], images[1]
                )
                for mirrored in self._passes
            ]
            for images in ((s["image"], s["size"]) for s in scaled)
        ]

    def views(
        self,
        variables: PyTree,
        logits: Logits,
        scaled: Sequence[ScaledImages],
        out_sizes: Integer[Array | np.ndarray, "b 2"],
        out_bucket: tuple[int, int],
        first: Integer[Array, "b 2"] | None = None,
    ) -> list[View]:
        """Joins the logits with the way to pixels; to be called in a compiled function.

        Args:
            variables: of the model.
            logits: from `decode`.
            scaled: what `decode` got.
            out_sizes: (height, width) of the results, such as of each image before it was scaled.
            out_bucket: of the results' array.
            first: (row, column) of each result at which its array begins, by default the first.
        """
        grid = self._grid(variables)
        return [
            create_view(
                self._mode,
                grid,
                of_pass,
                _at_least_one_pixel(s["size"]),
                (s["image"].shape[1], s["image"].shape[2]),
                _at_least_one_pixel(out_sizes),
                out_bucket,
                mirrored=mirrored,
                first=first,
            )
            for s, of_scale in zip(scaled, logits, strict=True)
            for mirrored, of_pass in zip(self._passes, of_scale, strict=True)
        ]


class NetworkInference(Inference):
    """The way of a model, whose logits are compiled for each shape of images on first use.

    Args:
        graphdef: the model's structure in evaluation mode, from `split_for_evaluation`.
        config: the `evaluation` section of the run's config, see `inference_mode`.
        mirrored_too: whether each image also goes through the network mirrored left to right.
        mesh: that batches are split over, if any.

    Raises:
        InputError: see `inference_mode`.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        config: ConfigDict,
        *,
        mirrored_too: bool,
        mesh: Mesh | None = None,
    ):
        super().__init__(config, mirrored_too=mirrored_too)
        self._graphdef, self._mesh = graphdef, mesh
        decode = self.logits
        if mesh is not None and mesh.shape[SPATIAL_AXIS] == 1:
            decode, self._mesh = on_each_device(mesh, decode), None
        # Logits are small: devices that share an image each get all of them.
        sharding = None if mesh is None else batch_sharding(mesh)
        self._decode_pass = compile_for(mesh, decode, out_shardings=sharding)

    @property
    def decode_pass(self) -> DecodePass:
        """Takes variables, images and their sizes to logits, compiled for each shape of images."""
        return self._decode_pass

    def logits(
        self,
        variables: PyTree,
        images: UInt8[Array, "b h w 3"],
        sizes: Integer[Array, "b 2"],
    ) -> Float[Array, "b out_h out_w classes"]:
        """The logits of images of some sizes, as a pure function: what `decode_pass` compiles."""
        sizes = _at_least_one_pixel(sizes)
        model = merge(self._graphdef, variables)
        images = normalize_images(images, sizes)
        return self._mode.decode(model, images, sizes, self._mesh)

    def _grid(self, variables: PyTree) -> LogitsGrid:
        return merge(self._graphdef, variables)


class ExportedInference(Inference):
    """The way of a network out of an exported file, which takes each image once.

    Args:
        program: takes images and their sizes to logits.
        grid: where these lie.
        config: the `evaluation` section of the run's config, see `inference_mode`.

    Raises:
        InputError: see `inference_mode`.
    """

    def __init__(
        self,
        program: Callable[[UInt8[Array, "b h w 3"], Integer[Array, "b 2"]], Array],
        grid: LogitsGrid,
        config: ConfigDict,
    ):
        super().__init__(config, mirrored_too=False)
        self._program, self._logits_grid = program, grid

    @property
    def decode_pass(self) -> DecodePass:
        """Takes images and their sizes to logits; variables are the file's matter."""
        return lambda variables, images, sizes: self._program(images, sizes)

    def _grid(self, variables: PyTree) -> LogitsGrid:
        return self._logits_grid


def _mirror(
    images: UInt8[Array, "b h w 3"], sizes: Integer[Array, "b 2"]
) -> UInt8[Array, "b h w 3"]:
    return mirror(images, _at_least_one_pixel(sizes))


def _at_least_one_pixel(sizes: Integer[Array | np.ndarray, "b 2"]) -> Integer[Array, "b 2"]:
    """Entries that only fill a batch up have none, and the mean over nothing is no number."""
    return jnp.maximum(sizes, 1)
