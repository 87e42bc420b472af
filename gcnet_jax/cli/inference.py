"""A trained model from the command line's `--config` with `--workdir` or `--checkpoint`."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from etils import epath
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, PyTree, UInt8
from ml_collections import ConfigDict

from gcnet_jax.config import architecture, differences, to_plain
from gcnet_jax.data import DatasetClasses, dataset_classes
from gcnet_jax.errors import InputError
from gcnet_jax.models import build_model, merge, split_for_evaluation
from gcnet_jax.ops import normalize_images
from gcnet_jax.parallel import replicated
from gcnet_jax.training import find_checkpoint, read_metadata, restore_variables


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A model in evaluation mode with the weights of a checkpoint.

    Attributes:
        graphdef: its structure; `gcnet_jax.models.merge` joins it with `variables`.
        variables: parameters and statistics, on every device.
        classes: what its logits mean.
        checkpoint: the folder that it comes from.
    """

    graphdef: nnx.GraphDef
    variables: PyTree
    classes: DatasetClasses
    checkpoint: epath.Path


Predictor = Callable[[UInt8[np.ndarray, "h w 3"]], Float[np.ndarray, "h w classes"]]


def create_predictor(trained: TrainedModel) -> Predictor:
    """A function from an RGB image to logits at its size; compiled once for each size."""

    @jax.jit
    def logits_of(variables: PyTree, images: Array) -> Array:
        return merge(trained.graphdef, variables)(normalize_images(images))

    return lambda image: np.asarray(logits_of(trained.variables, image[None])[0], np.float32)


def load_trained_model(
    config: ConfigDict, mesh: Mesh, *, workdir: str | None, checkpoint: str | None
) -> TrainedModel:
    """Builds the config's model and restores the weights.

    Args:
        config: of the run.
        mesh: devices that get a copy of the weights.
        workdir: of the run, whose best checkpoint is taken; or
        checkpoint: one checkpoint's folder.

    Raises:
        InputError: neither or both are given, there is no checkpoint, or it is not the config's.
    """
    if (workdir is None) == (checkpoint is None):
        raise InputError("give either --workdir=DIR of a run or --checkpoint=DIR of one checkpoint")
    folder = find_checkpoint(workdir) if workdir is not None else epath.Path(str(checkpoint))
    if not folder.exists():
        raise InputError(f"there is no checkpoint {folder}")
    try:
        saved = read_metadata(folder)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} is not a whole checkpoint: {error}") from error
    if found := differences(
        architecture(saved["config"]["model"]), architecture(to_plain(config.model))
    ):
        raise InputError(f"{folder} holds another model than the config: {'; '.join(found)}")

    classes = dataset_classes(config.data.name)
    if list(classes.names) != saved["classes"]["names"]:
        raise InputError(
            f"{folder} holds a model of other classes ({', '.join(saved['classes']['names'])}) "
            f"than data set {config.data.name} ({', '.join(classes.names)})"
        )
    model = build_model(config.model, num_classes=classes.num_classes, seed=config.seed)
    graphdef, variables = split_for_evaluation(model)
    variables = restore_variables(folder, jax.device_put(variables, replicated(mesh)))
    return TrainedModel(graphdef, variables, classes, folder)
