"""The training loop.

It knows nothing of segmentation: it drives a step function over batches, logs, evaluates and saves.
The host runs ahead of the device by a few steps: a step is dispatched without waiting for the one
before, and its metrics are read when they are there.
"""

import collections
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from jax.sharding import Mesh
from jaxtyping import PyTree

from gcnet_jax.errors import InputError
from gcnet_jax.parallel import shard_batch
from gcnet_jax.training.checkpoints import Checkpoints
from gcnet_jax.training.run_log import RunLog
from gcnet_jax.training.step import Metrics, TrainState, TrainStep

Evaluate = Callable[[TrainState], Mapping[str, float]]

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
    total_steps: int,
    evaluate: Evaluate,
    evaluate_every: int,
    evaluation_split: str,
    checkpoints: Checkpoints,
    checkpoint_every: int,
    log: RunLog,
) -> TrainState:
    """Trains from `state.step` to `total_steps`.

    Args:
        state: where to begin; its buffers are given away.
        train_step: from `create_train_step`.
        batches: a checkpointable Grain iterator of this process's part of each batch.
        mesh: the devices.
        total_steps: steps of the whole run.
        evaluate: takes a state to metrics, among them the one that decides which state is best.
        evaluate_every: steps between evaluations; one more follows the last step.
        evaluation_split: name of the split that `evaluate` looks at, for the log.
        checkpoints: where to save.
        checkpoint_every: steps between checkpoints; evaluated states are saved in any case.
        log: where metrics go.

    Returns:
        The state after the last step, saved.

    Raises:
        InputError: the loss, the gradient or the state is not finite. None such is ever saved.
    """
    in_flight: collections.deque[tuple[int, Metrics]] = collections.deque()

    def read_metrics(*, keep: int) -> None:
        """Logs the steps that are done, waiting until at most `keep` are under way."""
        while in_flight and (len(in_flight) > keep or _is_done(in_flight[0][1])):
            step, metrics = in_flight.popleft()
            values = {name: float(value) for name, value in metrics.items()}
            _check_finite(step, values)
            log.step(step, values)

    first_step = int(state.step)
    for step in range(first_step + 1, total_steps + 1):
        batch = shard_batch(next(batches), mesh)
        state, metrics = train_step(state, batch)
        in_flight.append((step, metrics))
        read_metrics(keep=_STEPS_IN_FLIGHT)

        last = step == total_steps
        evaluates = last or step % evaluate_every == 0
        if evaluates or step % checkpoint_every == 0:
            read_metrics(keep=0)  # so that no state is saved that a bad step has spoilt
            evaluation = None
            with log.paused():
                if evaluates:
                    evaluation = dict(evaluate(state))
                    log.evaluation(step, evaluation_split, evaluation)
                checkpoints.save(state, batches, step=step, metrics=evaluation)
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
