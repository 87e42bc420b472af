"""A whole training run, from a config to its last checkpoint."""

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
from etils import epath
from jax.sharding import Mesh
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gcnet_jax.config import as_config, check_config, to_plain, versions
from gcnet_jax.errors import Interrupted, Preempted
from gcnet_jax.evaluation import SegmentationMetrics, create_evaluator, metrics_from_confusion
from gcnet_jax.files import write_whole
from gcnet_jax.models import split_for_evaluation
from gcnet_jax.parallel import (
    SPATIAL_AXIS,
    check_batch_size,
    create_mesh,
    input_shard,
    is_first_process,
    keep_freed_memory,
    meet,
    replicated,
)
from gcnet_jax.pretrained import initialize
from gcnet_jax.tasks.segmentation.data import (
    EvaluationBatch,
    check_labels,
    dataset_classes,
    evaluation_batches,
    height_multiple,
    split_size,
    train_iterator,
)
from gcnet_jax.tasks.segmentation.training_pictures import TrainingPictures
from gcnet_jax.tasks.segmentation.training_program import TrainingProgram
from gcnet_jax.training import (
    Advance,
    Checkpoints,
    PreemptionNotice,
    RunLog,
    Scores,
    TrainState,
    doing,
    only_training,
    storage_path,
    try_out,
)
from gcnet_jax.training import train as take_steps


def train_from_config(
    config: ConfigDict, workdir: epath.PathLike, *, started: float | None = None
) -> None:
    """Trains the run that a config describes in `workdir`, from its newest checkpoint if any.

    Args:
        config: of the run.
        workdir: its folder.
        started: when it was asked for, by `time.monotonic`; how long the first step took from there
            is told. By default now.

    Raises:
        InputError: the config, the data or the workdir's checkpoints are not usable together, or
            training diverges; see the parts for each case.
        Preempted: SIGTERM came, and what was done is saved.
    """
    # From here to the end: a second signal while the processes clean up is no failure either.
    with PreemptionNotice() as preemption:
        try:
            _train(config, workdir, preemption, time.monotonic() if started is None else started)
        except Preempted as notice:
            if preemption.by_hand:
                raise Interrupted(str(notice)) from notice
            raise


def train(config: ConfigDict | str | os.PathLike, workdir: str | os.PathLike) -> None:
    """Trains a network, or goes on from the newest checkpoint in the workdir.

    Args:
        config: a config, the name of one of the library's, or the path of its file.
        workdir: folder of the run, made if it is not there; `gcnet_jax.load` takes it afterwards.

    Raises:
        InputError: the config, the data or the workdir's checkpoints are not usable together, or
            training diverges.
        Preempted: SIGTERM came, and what was done is saved.
    """
    train_from_config(as_config(config), workdir)


def _train(
    config: ConfigDict, workdir: epath.PathLike, preemption: PreemptionNotice, started: float
) -> None:
    check_config(config)
    workdir = storage_path(workdir)
    training, evaluation = config.training, config.evaluation
    shows = is_first_process()
    with doing("starting the devices", shows=shows):
        mesh = create_mesh(spatial=config.parallel.spatial)
        keep_freed_memory()
    with doing("reading the data set", shows=shows):  # fail now, not in an hour
        held_out_images = split_size(config.data.name, config.data.data_dir, evaluation.split)
        check_labels(config.data.name, config.data.data_dir, evaluation.split)
        classes = dataset_classes(config.data.name, config.data.data_dir)
    with doing("tracing the network", shows=shows):
        program = TrainingProgram(config, classes.num_classes, mesh)
    check_batch_size(evaluation.batch_size, mesh, key="evaluation.batch_size")
    shard = input_shard(mesh)
    of_batches: Any = {"shard_index": shard.index, "shard_count": shard.count}
    batches = train_iterator(
        config.data, batch_size=training.batch_size, seed=config.seed, **of_batches
    )
    evaluation_graphdef, _ = split_for_evaluation(program.model)
    evaluator = create_evaluator(evaluation_graphdef, classes.num_classes, evaluation, mesh)

    metadata = {
        "config": to_plain(config),
        "classes": classes.to_plain(),
        "versions": versions(),
    }
    checkpoints = Checkpoints(workdir, metadata, keep_newest=training.keep_newest)
    with _own_workdir(workdir, _bytes(program.shapes[0])):
        try:
            meet("all processes have traced the model")
            with doing("reading the newest checkpoint", shows=shows):
                state = checkpoints.restore_newest(program.shapes[0], batches)
            batches.start_prefetch()  # beside all that comes before the first step
            initialization = "from scratch"
            if state is None:
                with doing("initialising the weights", shows=shows):
                    model = program.fresh_model()
                    if training.init_from:
                        initialization = initialize(model, config, classes)
                    state = program.initial_state(model)
            if is_first_process():
                write_whole(workdir / "config.json", json.dumps(metadata, indent=2) + "\n")
            log = RunLog(
                workdir,
                first_step=int(state.step),
                total_steps=training.total_steps,
                log_every=training.log_every,
                batch_size=training.batch_size,
                started=started,
                unlogged=checkpoints.unlogged(int(state.step)),
                unread=preemption.request,
                writes=is_first_process(),
            )
            pictures = None
            if is_first_process():
                pictures = TrainingPictures(config, classes, workdir, shard, log)

            def evaluate(state: TrainState) -> Scores | None:
                variables = {"params": state.params, "statistics": state.statistics}
                variables = jax.device_put(variables, replicated(mesh))
                held_out = evaluation_batches(
                    config,
                    evaluation.split,
                    height_multiple=height_multiple(config),
                    **of_batches,
                )
                with log.stage("validating", -(-held_out_images // shard.count)) as advance:
                    held_out = _until_preempted(held_out, preemption, advance)
                    try:
                        counts = evaluator(variables, held_out, pictures and pictures.look)
                    except _GivenUp:
                        return None
                return _scores(metrics_from_confusion(counts), classes.names)

            with log, pictures or contextlib.nullcontext():
                log.message(_summary(config, workdir, state, initialization, mesh))
                log.text(int(state.step), "config", _as_markdown(metadata["config"]))
                to_do = int(state.step) < training.total_steps
                step = program.compile(log.stage).run if to_do else program.step
                meet("all processes have compiled the step")
                take_steps(
                    state,
                    step,
                    batches,
                    mesh=mesh,
                    total_steps=training.total_steps,
                    evaluate=evaluate,
                    evaluate_every=training.evaluate_every,
                    evaluation_split=evaluation.split,
                    checkpoints=checkpoints,
                    checkpoint_every=training.checkpoint_every,
                    preempted=preemption.reached,
                    log=log,
                    observer=pictures,
                )
                if pictures is not None:
                    pictures.finish()
            took = time.monotonic() - started
            log.message(_ending(workdir, took, log.best(evaluation.split), evaluation.split))
            checkpoints.close()
        except BaseException:
            checkpoints.leave()
            raise
        finally:
            batches.close()


@contextlib.contextmanager
def _own_workdir(workdir: epath.Path, checkpoint_bytes: int) -> Iterator[None]:
    """Makes the workdir this run's alone, and makes sure that checkpoints can be kept in it."""
    if not is_first_process():
        yield
        return
    with only_training(workdir):
        try_out(workdir, checkpoint_bytes)
        yield


def _bytes(arrays: PyTree) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(arrays))


def _scores(metrics: SegmentationMetrics, names: Sequence[str]) -> Scores:
    by_class = {f"IoU/{name}": value for name, value in metrics.iou_by_name(names).items()}
    return Scores(metrics.summary(), by_class, metrics.note())


class _GivenUp(Exception):
    """An evaluation that the machine is taken away from."""


def _until_preempted(
    batches: Iterable[EvaluationBatch], preemption: PreemptionNotice, advance: Advance
) -> Iterator[EvaluationBatch]:
    for batch in batches:
        if preemption.reached():
            raise _GivenUp
        yield batch
        advance(int((batch["index"] >= 0).sum()))


def _summary(
    config: ConfigDict, workdir: epath.Path, state: TrainState, initialization: str, mesh: Mesh
) -> str:
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    step = int(state.step)
    if step:
        initialization = f"resuming after step {step}"
    processes, spatial = jax.process_count(), mesh.shape[SPATIAL_AXIS]
    how = f"{processes} processes" if processes > 1 else "1 process"
    how += f", each image over {spatial} devices" if spatial > 1 else ""
    how += ", parameters spread over them" if config.parallel.fsdp else ""
    return "\n".join(
        [
            f"workdir   {workdir}",
            f"start     {initialization}",
            f"data      {config.data.name}, {config.data.train_split} split",
            f"model     {parameters:,} parameters, computing in {config.model.dtype}",
            f"devices   {mesh.size} x {jax.devices()[0].device_kind}, {how}",
        ]
    )


def _ending(workdir: epath.Path, seconds: float, best: tuple[int, float] | None, split: str) -> str:
    said = f"done in {seconds:.0f} s"
    if best is not None:
        said += f"; the best mIoU on {split} is {100 * best[1]:.2f}%, after step {best[0]}"
    return f"{said}\ncheckpoints, curves.png and pictures are in {workdir}"


def _as_markdown(plain: dict[str, Any]) -> str:
    """A config as TensorBoard shows it: indented, Markdown leaves it as it is."""
    return "\n".join(f"    {line}" for line in json.dumps(plain, indent=2).splitlines())
