"""What the training loop adds to the steps that it drives."""

import contextlib
import io
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks.comparison import print_tables, table, times_as_fast, with_spread
from benchmarks.memory import device_name
from gcnet_jax.cli.timing import measure_in_turn, median_and_spread
from gcnet_jax.parallel import create_mesh
from gcnet_jax.tasks.segmentation.data import DatasetClasses
from gcnet_jax.tasks.segmentation.task import TASK as segmentation
from gcnet_jax.training import Checkpoints, RunLog, TrainState, train
from gcnet_jax.training.program import CompiledStep, TrainingProgram

_LOOP, _BARE = "the loop", "bare steps"
_BATCHES = 4
"""Batches that take turns, each in memory of its own."""


def measure_loop(
    config: ConfigDict, *, num_classes: int, steps: int, rounds: int
) -> dict[str, Any]:
    """Measures, prints and returns how long the training loop takes beside the steps alone.

    The loop takes batches from the host's memory, as from a pipeline that keeps up, moves them to
    the devices, checks and logs metrics; it neither saves nor evaluates. The bare steps run on a
    batch that is on the devices already, one dispatched after the other.

    Args:
        config: of the run.
        num_classes: of the network.
        steps: in each round.
        rounds: how often both are measured.

    Raises:
        InputError: the batch does not divide over the devices.
    """
    program = TrainingProgram(segmentation, config, DatasetClasses.numbered(num_classes))
    compiled = program.compile()
    bare = _BareSteps(program, compiled, steps)
    with tempfile.TemporaryDirectory() as folder:
        loop = _Loop(program, compiled, config, steps, Path(folder))
        for way in (bare, loop):
            way.seconds()  # whatever happens the first time only
        seconds = measure_in_turn({_LOOP: loop, _BARE: bare}, rounds)
    rows = [
        {
            "way": name,
            "seconds_of_rounds": times,
            "step_seconds": median_and_spread([x / steps for x in times])._asdict(),
            "times_as_fast_as": times_as_fast(seconds, name),
        }
        for name, times in seconds.items()
    ]
    # Round by round, for the machine's speed changes more from one to the next than this.
    overhead = median_and_spread((np.divide(seconds[_LOOP], seconds[_BARE]) - 1).tolist())
    speed = table(
        f"{rounds} rounds of {steps} steps on {device_name()}; the loop adds "
        f"{overhead.median:.1%} ± {overhead.spread:.1%}",
        ("step, s",),
    )
    for row in rows:
        speed.add_row(row["way"], with_spread(row["step_seconds"]))
    print_tables(speed)
    return {
        "device": device_name(),
        "steps": steps,
        "rounds": rounds,
        "overhead": overhead._asdict(),
        "config": config.to_dict(),
        "rows": rows,
    }


class _BareSteps:
    def __init__(self, program: TrainingProgram, compiled: CompiledStep, steps: int):
        self._run, self._steps = compiled.run, steps
        self._state, self._batch = program.initial_state(), program.random_batch()

    def seconds(self) -> float:
        start = time.perf_counter()
        for _ in range(self._steps):
            self._state, _ = self._run(self._state, self._batch)
        jax.block_until_ready(self._state)
        return time.perf_counter() - start


class _Loop:
    """`train`, from the first batch that it takes to the end of its last step."""

    def __init__(
        self,
        program: TrainingProgram,
        compiled: CompiledStep,
        config: ConfigDict,
        steps: int,
        folder: Path,
    ):
        self._program, self._run = program, compiled.run
        self._config, self._steps, self._folder = config, steps, folder
        self._mesh = create_mesh(spatial=config.parallel.spatial)
        batch = jax.tree.map(np.asarray, program.random_batch())
        self._batches = [jax.tree.map(np.array, batch) for _ in range(_BATCHES)]
        self._rounds = itertools.count()

    def seconds(self) -> float:
        workdir = self._folder / str(next(self._rounds))
        workdir.mkdir()
        state = jax.block_until_ready(self._program.initial_state())
        batches = itertools.cycle(self._batches)
        checkpoints = Checkpoints(workdir, {}, best_metric=segmentation.best_metric, keep_newest=1)
        training = self._config.training
        with contextlib.redirect_stdout(io.StringIO()):
            log = RunLog(
                workdir,
                first_step=0,
                total_steps=self._steps,
                log_every=training.log_every,
                best_metric=segmentation.best_metric,
                batch_size=training.batch_size,
            )
        start = time.perf_counter()
        try:
            with log:
                train(
                    state,
                    self._run,
                    batches,
                    mesh=self._mesh,
                    image_keys=segmentation.image_keys,
                    total_steps=self._steps,
                    evaluate=_end,
                    evaluate_every=self._steps,
                    evaluation_split="",
                    checkpoints=checkpoints,
                    checkpoint_every=self._steps,
                    preempted=lambda: False,
                    log=log,
                )
        except _AllStepsDoneError as done:
            return done.when - start
        finally:
            checkpoints.close()
        raise AssertionError("the loop has not evaluated its last step")


class _AllStepsDoneError(Exception):
    """Ends the loop before it saves."""

    def __init__(self) -> None:
        super().__init__()
        self.when = time.perf_counter()


def _end(_: TrainState) -> NoReturn:
    raise _AllStepsDoneError
