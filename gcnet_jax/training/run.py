"""A whole training run, from a config to its last checkpoint."""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import jax
from etils import epath
from jax.sharding import Mesh
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gcnet_jax.config import check_config, in_steps, schedule_in_words, to_plain
from gcnet_jax.errors import InputError, Interrupted, Preempted
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
from gcnet_jax.task import Scores, Task
from gcnet_jax.training.checkpoint_files import storage_path, try_out
from gcnet_jax.training.checkpoints import Checkpoints
from gcnet_jax.training.display import doing
from gcnet_jax.training.loop import train
from gcnet_jax.training.preemption import PreemptionNotice
from gcnet_jax.training.pretrained import initialize, run_metadata
from gcnet_jax.training.program import TrainingProgram
from gcnet_jax.training.run_log import RunLog
from gcnet_jax.training.split_evaluation import SplitEvaluation
from gcnet_jax.training.step import TrainState
from gcnet_jax.training.training_lock import only_training


def run_training(
    task: Task, config: ConfigDict, workdir: epath.PathLike, *, started: float | None = None
) -> None:
    """Trains the run that a config describes in `workdir`, from its newest checkpoint if any.

    Args:
        task: of the run.
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
            _train(
                task, config, workdir, preemption, time.monotonic() if started is None else started
            )
        except Preempted as notice:
            if preemption.by_hand:
                raise Interrupted(str(notice)) from notice
            raise


def _train(
    task: Task,
    config: ConfigDict,
    workdir: epath.PathLike,
    preemption: PreemptionNotice,
    started: float,
) -> None:
    check_config(config, task.schema)
    workdir = storage_path(workdir)
    shows = is_first_process()
    with doing("starting the devices", shows=shows):
        mesh = create_mesh(spatial=config.parallel.spatial)
        keep_freed_memory()
    with doing("reading the data set", shows=shows):  # fail now, not in an hour
        config = task.with_evaluation_split(config)
        evaluation = config.evaluation
        for split in (config.data.train_split, evaluation.split):
            task.check_split(config, split)
        meaning = task.meaning_of_data(config)
        shard = input_shard(mesh)
        batches = task.training_batches(config, shard)
        config = _in_steps(task, config, batches.examples)
        training = config.training
    with doing("tracing the network", shows=shows):
        program = TrainingProgram(task, config, meaning, mesh)
    check_batch_size(evaluation.batch_size, mesh, key="evaluation.batch_size")
    evaluation_graphdef, _ = split_for_evaluation(program.model)
    held_out = SplitEvaluation(task, config, meaning, evaluation_graphdef, mesh)
    metadata = run_metadata(config, meaning)
    checkpoints = Checkpoints(
        workdir,
        metadata,
        best_metric=task.best_metric,
        keep_newest=training.keep_newest,
        defaults=to_plain(task.schema.default()),
    )
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
                        initialization = initialize(task, model, config, meaning)
                    state = program.initial_state(model)
            if is_first_process():
                write_whole(workdir / "config.json", json.dumps(metadata, indent=2) + "\n")
            log = RunLog(
                workdir,
                first_step=int(state.step),
                total_steps=training.total_steps,
                log_every=training.log_every,
                best_metric=task.best_metric,
                batch_size=training.batch_size,
                started=started,
                unlogged=checkpoints.unlogged(int(state.step)),
                unread=preemption.request,
                writes=is_first_process(),
            )
            observer = None
            if is_first_process() and task.observer is not None:
                observer = task.observer(config, meaning, workdir, shard, log.picture)

            def evaluate(state: TrainState) -> Scores | None:
                variables = jax.device_put(state.variables, replicated(mesh))
                look = observer.look if observer is not None else None
                with log.stage("validating", held_out.examples) as shown:

                    def advance(examples: int) -> None:
                        shown(examples)
                        if preemption.reached():
                            raise _GivenUp

                    try:
                        return held_out(variables, advance=advance, look=look).scores()
                    except _GivenUp:
                        return None

            with log, observer or contextlib.nullcontext():
                schedule = schedule_in_words(config, batches.examples)
                log.message(_summary(config, workdir, state, initialization, schedule, mesh))
                log.text(int(state.step), "config", _as_markdown(metadata["config"]))
                to_do = int(state.step) < training.total_steps
                step = program.compile(log.stage).run if to_do else program.step
                meet("all processes have compiled the step")
                train(
                    state,
                    step,
                    batches,
                    mesh=mesh,
                    image_keys=task.image_keys,
                    total_steps=training.total_steps,
                    evaluate=evaluate,
                    evaluate_every=training.evaluate_every,
                    evaluation_split=evaluation.split,
                    checkpoints=checkpoints,
                    checkpoint_every=training.checkpoint_every,
                    preempted=preemption.reached,
                    log=log,
                    observer=observer,
                )
                if observer is not None:
                    observer.finish()
            took = time.monotonic() - started
            best = log.best(evaluation.split)
            log.message(_ending(workdir, took, task.best_metric, best, evaluation.split))
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


class _GivenUp(Exception):
    """An evaluation that the machine is taken away from."""


def _in_steps(task: Task, config: ConfigDict, images: int) -> ConfigDict:
    """The config with its schedule in steps; InputError if these do not fit together."""
    counted = in_steps(config, images)
    try:
        check_config(counted, task.schema)
    except InputError as error:
        raise InputError(
            f"steps in an epoch of {images} images at batch {config.training.batch_size}: "
            f"{counted.epochs.steps}; so {error}"
        ) from error
    return counted


def _summary(
    config: ConfigDict,
    workdir: epath.Path,
    state: TrainState,
    initialization: str,
    schedule: str,
    mesh: Mesh,
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
            "schedule  " + schedule.replace("\n", "\n          "),
            f"model     {parameters:,} parameters, computing in {config.model.dtype}",
            f"devices   {mesh.size} x {jax.devices()[0].device_kind}, {how}",
        ]
    )


def _ending(
    workdir: epath.Path, seconds: float, metric: str, best: tuple[int, float] | None, split: str
) -> str:
    said = f"done in {seconds:.0f} s"
    if best is not None:
        said += f"; the best {metric} on {split} is {100 * best[1]:.2f}%, after step {best[0]}"
    return f"{said}\ncheckpoints, curves.png and pictures are in {workdir}"


def _as_markdown(plain: dict[str, Any]) -> str:
    """A config as TensorBoard shows it: indented, Markdown leaves it as it is."""
    return "\n".join(f"    {line}" for line in json.dumps(plain, indent=2).splitlines())
