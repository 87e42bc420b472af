"""How long training steps take."""

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from gcnet_jax.models import build_model
from gcnet_jax.parallel import create_mesh, shard_batch
from gcnet_jax.training import (
    TrainState,
    create_optimizer,
    create_state,
    create_train_step,
    learning_rate_schedule,
    segmentation_loss,
)
from gcnet_jax.training.step import TrainStep


def step_seconds(
    configs: Mapping[str, ConfigDict], *, num_classes: int, rounds: int
) -> dict[str, list[float]]:
    """Seconds of single training steps for each config, measured in turn, compilation left out.

    Taking turns spreads whatever else the machine does over all of them. The batches are of random
    pixels, already on the devices.

    Args:
        configs: of the runs, by name.
        num_classes: of the data set.
        rounds: steps measured for each.
    """
    steps = {name: _Step(config, num_classes) for name, config in configs.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            seconds[name].append(step.seconds())
    return seconds


class MedianAndSpread(NamedTuple):
    """The median of some values, and half the distance between their quartiles."""

    median: float
    spread: float


def median_and_spread(values: Sequence[float]) -> MedianAndSpread:
    """The two of some values."""
    first, median, third = np.percentile(values, [25, 50, 75])
    return MedianAndSpread(float(median), float(third - first) / 2)


class _Step:
    """The compiled training step of a config, with a state and a batch of its own."""

    def __init__(self, config: ConfigDict, num_classes: int):
        training, mesh = config.training, create_mesh()
        optimizer = create_optimizer(config.optimizer, training.total_steps)
        model = build_model(config.model, num_classes=num_classes, seed=config.seed)
        graphdef, self._state = create_state(model, optimizer, mesh, seed=config.seed)
        self._step: TrainStep = create_train_step(
            graphdef,
            segmentation_loss(training.auxiliary_loss_weight),
            optimizer,
            mesh,
            schedule=learning_rate_schedule(config.optimizer, training.total_steps),
            accumulation_steps=training.accumulation_steps,
        )
        rng = np.random.default_rng(0)
        shape = (training.batch_size // jax.process_count(), *config.data.crop_size)
        batch = {
            "image": rng.integers(0, 256, (*shape, 3), np.uint8),
            "label": rng.integers(0, num_classes, shape, np.uint8),
            "size": np.tile(np.array(config.data.crop_size, np.int32), (shape[0], 1)),
        }
        self._batch = shard_batch(batch, mesh)
        self.seconds()  # compiles

    def seconds(self) -> float:
        state: TrainState = self._state
        start = time.perf_counter()
        self._state, _ = jax.block_until_ready(self._step(state, self._batch))
        return time.perf_counter() - start
