"""How long training steps take."""

import time
from collections.abc import Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from gcnet_jax.cli.timing import measure_in_turn, steps_in_a_row
from gcnet_jax.tasks.segmentation.training_program import CompiledStep, TrainingProgram


def step_seconds(
    configs: Mapping[str, ConfigDict], *, num_classes: int, rounds: int
) -> dict[str, list[float]]:
    """Seconds of single training steps for each config, measured in turn, compilation left out.

    The batches are of random pixels, already on the devices.

    Args:
        configs: of the runs, by name.
        num_classes: of the data set.
        rounds: steps measured for each.
    """
    programs = {name: TrainingProgram(config, num_classes) for name, config in configs.items()}
    steps = {name: TimedStep(program, program.compile()) for name, program in programs.items()}
    return measure_in_turn(steps, rounds)


class TimedStep:
    """A compiled training step with a state and a batch of its own, run once before it counts.

    Attributes:
        first_loss: of the step that was run before.
    """

    def __init__(self, program: TrainingProgram, compiled: CompiledStep):
        self._run = compiled.run
        self._state, self._batch = program.initial_state(), program.random_batch()
        self.first_loss = float(self._take(1)["loss"])

    def seconds(self) -> float:
        """Takes `steps_in_a_row`, and returns how long each took."""
        steps, start = steps_in_a_row(), time.perf_counter()
        self._take(steps)
        return (time.perf_counter() - start) / steps

    def _take(self, steps: int) -> dict[str, Any]:
        metrics: dict[str, Any] = {}
        for _ in range(steps):
            self._state, metrics = self._run(self._state, self._batch)
        return jax.block_until_ready((self._state, metrics))[1]
