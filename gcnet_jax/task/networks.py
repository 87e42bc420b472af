"""Networks with their weights, as runs and tasks hand them to each other."""

import dataclasses
from typing import Any, Generic, Protocol, TypeVar

from etils import epath
from flax import nnx
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gcnet_jax.interop import Mismatch

M = TypeVar("M")


@dataclasses.dataclass(frozen=True)
class PretrainedModel(Generic[M]):
    """A model with the weights of a checkpoint, in evaluation mode.

    Attributes:
        model: the network.
        meaning: of its outputs, see `Meaning`.
        source: the file or folder that the weights are from.
        left: what differed and was left as initialised; empty unless that was allowed.
    """

    model: nnx.Module
    meaning: M
    source: epath.Path
    left: Mismatch = dataclasses.field(default_factory=Mismatch)


@dataclasses.dataclass(frozen=True)
class TrainedModel(Generic[M]):
    """A model in evaluation mode with the weights of a checkpoint.

    Attributes:
        graphdef: its structure; `gcnet_jax.models.merge` joins it with `variables`.
        variables: parameters and statistics, on every device.
        meaning: of its outputs, see `Meaning`.
        checkpoint: the file or folder that it comes from.
    """

    graphdef: nnx.GraphDef
    variables: PyTree
    meaning: M
    checkpoint: epath.Path


class TrainedNetwork(Protocol):
    """A network with its weights, to be called with an image or a list of images.

    Attributes:
        model: the network, in evaluation mode.
        config: of the run.
        source: the file or folder that the weights are from.
    """

    @property
    def model(self) -> nnx.Module: ...  # noqa: D102

    @property
    def config(self) -> ConfigDict: ...  # noqa: D102

    @property
    def source(self) -> epath.Path: ...  # noqa: D102

    def __call__(self, images: Any) -> Any:
        """The result for an image; for a list a list of results."""
        ...
