"""The training loop.

It knows nothing of any task: it drives a step function over batches, logs, evaluates and saves.
The host runs ahead of the device by a few steps: a step is dispatched without waiting for the one
before, and its metrics are read when they are there.
"""

import collections
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NoReturn

import jax
from jax.sharding import Mesh
from jaxtyping import PyTree

from gcnet_jax.errors import InputError, Preempted
from gcnet_jax.parallel import shard_batch
from gcnet_jax.task import Metrics, Observer, Scores
from gcnet_jax.training.checkpoints import Checkpoints
from gcnet_jax.training.run_log import RunLog
from gcnet_jax.training.step import TrainState, TrainStep

Evaluate = Callable[[TrainState], Scores | None]

# Steps that may be under way at once. Enough to hide the host's work; more would only hold more
# batches in device memory and report trouble later.
_STEPS_IN_FLIGHT = 4

# The loss and the gradient are of the state before the step, the norm of the state after it.
_MUST_BE_FINITE = ("loss", "gradient_norm", "state_norm")


def train(
    state: TrainState,
    train_step: TrainStep,
    batches: Iterator[PyTree],
    *,
    mesh: Mesh,
    image_keys: Collection[str],
    total_steps: int,
    evaluate: Evaluate,
    evaluate_every: int,
    evaluation_split: str,
    checkpoints: Checkpoints,
    checkpoint_every: int,
    preempted: Callable[[], bool],
    log: RunLog,
    observer: Observer | None = None,
) -> TrainState:
    """Trains from `state.step` to `total_steps`.

    Args:
        state: where to begin; its buffers are given away.
        train_step: from `create_train_step`.
        batches: this process's part of each batch, from an iterator that can be checkpointed.
        mesh: the devices.
        image_keys: the entries of a batch that are images, see `shard_batch`.
        total_steps: steps of the whole run.
        evaluate: takes a state to what it is worth; or to None, if it was given up because the
            machine is about to be taken away.
        evaluate_every: steps between evaluations; one more follows the last step.
        evaluation_split: name of the split that `evaluate` looks at, for the log.
        checkpoints: where to save.
        checkpoint_every: steps between checkpoints; evaluated states are saved in any case.
        preempted: whether the machine is about to be taken away; asked after each step.
        log: where metrics go.
        observer: what looks on, if anything.

    Returns:
        The state after the last step, saved.

    Raises:
        InputError: the loss, the gradient or the state is not finite, none of which is ever saved;
            or a checkpoint cannot be written.
        Preempted: the machine is about to be taken away, and the state is saved.
    """
    in_flight: collections.deque[tuple[int, Metrics]] = collections.deque()

    def read_metrics(*, keep: int) -> None:
        """Logs the steps that are done, waiting until at most `keep` are under way."""
        while in_flight and (len(in_flight) > keep or _is_done(in_flight[0][1])):
            step, metrics = in_flight.popleft()
            values = {name: float(value) for name, value in metrics.items()}
            _check_finite(step, values)
            log.step(step, values)

    def logged_evaluation(state: TrainState, step: int) -> dict[str, float] | None:
        scores = evaluate(state)
        if scores is None:
            return None
        log.evaluation(step, evaluation_split, scores)
        return dict(scores.metrics)

    def evaluate_and_save(state: TrainState, step: int, *, evaluates: bool) -> bool:
        """Returns whether an evaluation was given up."""
        read_metrics(keep=0)  # so that no state is saved that a bad step has spoilt
        with log.paused():
            metrics = logged_evaluation(state, step) if evaluates else None
            checkpoints.save(state, batches, step=step, metrics=metrics, unlogged=log.unlogged())
            if observer is not None and metrics is not None:
                observer.evaluated(step)
        return evaluates and metrics is None

    def evaluate_restored(state: TrainState, step: int) -> None:
        """The state is saved already, and stays so whatever happens now."""
        with log.paused():
            metrics = logged_evaluation(state, step)
            if metrics is None:
                stop(step)
            checkpoints.add_metrics(step, metrics)
            if observer is not None:
                observer.evaluated(step)

    def is_evaluated(step: int) -> bool:
        return step == total_steps or step % evaluate_every == 0

    def stop(step: int) -> NoReturn:
        checkpoints.wait()
        raise Preempted(f"stopped after step {step}, which is saved; run the same command to go on")

    first_step = int(state.step)
    if first_step > total_steps:
        raise InputError(
            f"the newest checkpoint is of step {first_step}, beyond training.total_steps = "
            f"{total_steps}; use another workdir, or a larger total"
        )
    # A run that was stopped before an evaluation, or during it, begins with that.
    owes_evaluation = (
        first_step > 0 and is_evaluated(first_step) and not checkpoints.has_metrics(first_step)
    )
    if owes_evaluation:
        evaluate_restored(state, first_step)
    for step in range(first_step + 1, total_steps + 1):
        batch = next(batches)
        state, metrics = train_step(state, shard_batch(batch, mesh, image_keys))
        in_flight.append((step, metrics))
        # The log says when the first step was done.
        read_metrics(keep=0 if step == first_step + 1 else _STEPS_IN_FLIGHT)
        if observer is not None and step == 1:
            with log.paused():
                observer.first_batch(batch)
        del batch  # the host has no memory to spare for more of them

        stops = preempted()
        if stops or is_evaluated(step) or step % checkpoint_every == 0:
            evaluates = is_evaluated(step) and not stops
            stops |= evaluate_and_save(state, step, evaluates=evaluates)
        if stops:
            stop(step)
    checkpoints.wait()
    return state


def _is_done(metrics: Metrics) -> bool:
    return all(value.is_ready() for value in jax.tree.leaves(metrics))


def _check_finite(step: int, values: Mapping[str, Any]) -> None:
    bad = [name for name in _MUST_BE_FINITE if not math.isfinite(values[name])]
    if bad:
        raise InputError(
            f"training diverged: {bad[0].replace('_', ' ')} is {values[bad[0]]} at step {step}. "
            "The last checkpoint is from before that step; lower the learning rate or look at the "
            "data, then run the same command to go on from it"
        )
