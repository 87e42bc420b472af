"""A network with the weights of a run or of a checkpoint, on all devices."""

import contextlib
from collections.abc import Iterator

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from gcnet_jax.errors import InputError
from gcnet_jax.files import as_path
from gcnet_jax.models import split_for_evaluation
from gcnet_jax.parallel import is_first_process, place, replicated
from gcnet_jax.task import Task, TrainedModel
from gcnet_jax.training.checkpoint_files import find_checkpoint
from gcnet_jax.training.pretrained import load_pretrained


def load_trained_model(
    task: Task,
    config: ConfigDict,
    mesh: Mesh,
    *,
    workdir: str | None = None,
    checkpoint: str | None = None,
    allow_partial: bool = False,
) -> TrainedModel:
    """Builds the config's model and loads the weights.

    Args:
        task: of the run.
        config: of the run.
        mesh: devices that get a copy of the weights.
        workdir: of the run, whose best checkpoint is taken; or
        checkpoint: what `gcnet_jax.load_model` takes.
        allow_partial: whether to take what fits of a `.pth` file; what is left is printed.

    Raises:
        InputError: neither or both are given, there is no checkpoint, or it is not the config's.
    """
    if (workdir is None) == (checkpoint is None):
        raise InputError(
            "give either --workdir=DIR of a run or --checkpoint=PATH of one checkpoint"
        )
    source = (
        find_checkpoint(as_path(workdir), task.best_metric)
        if workdir is not None
        else str(checkpoint)
    )
    pretrained = load_pretrained(task, config, source, allow_partial=allow_partial)
    if pretrained.left and is_first_process():
        print(f"left as initialised or not taken: {pretrained.left}")
    graphdef, variables = split_for_evaluation(pretrained.model)
    variables = place(variables, jax.tree.map(lambda _: replicated(mesh), variables))
    return TrainedModel(graphdef, variables, pretrained.meaning, pretrained.source)


@contextlib.contextmanager
def lack_of_memory_named() -> Iterator[None]:
    """Says which settings need less memory where a device has run out of it.

    Raises:
        InputError: in place of JAX's error.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise InputError(
            "the devices have too little memory for this batch of images; lower "
            "evaluation.batch_size, or what else of the section `evaluation` is done at once"
        ) from error
