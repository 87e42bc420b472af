"""How long training steps take."""

import time
from collections.abc import Mapping

import jax
from ml_collections import ConfigDict

from gcnet_jax.cli.timing import measure_in_turn
from gcnet_jax.cli.training_program import CompiledStep, TrainingProgram


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
        loss: of the last step.
    """

    def __init__(self, program: TrainingProgram, compiled: CompiledStep):
        self._run = compiled.run
        self._state, self._batch = program.initial_state(), program.random_batch()
        self.seconds()

    def seconds(self) -> float:
        """Takes one step, and returns how long it took."""
        start = time.perf_counter()
        self._state, metrics = jax.block_until_ready(self._run(self._state, self._batch))
        seconds = time.perf_counter() - start
        self.loss = float(metrics["loss"])
        return seconds
