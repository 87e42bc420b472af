"""Trains like `scripts/train.py`, but one number is not a number after a given step.

    python -m tests.faults.spoiled_step PART STEP SEED [arguments of scripts/train.py]

A device that computes wrongly or memory that fails would do the same. The number is one of the
state's part `params`, `statistics` or `optimizer`, on the devices of this process alone.
"""

import dataclasses
import random
import sys
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from gcnet_jax.cli import process, train
from gcnet_jax.training import TrainState
from gcnet_jax.training import run as training_run
from gcnet_jax.training.program import CompiledStep, TrainingProgram

PARTS = ("params", "statistics", "optimizer")
"""The parts of a training state in which a number may be spoilt."""
NOTE = "spoiling a number of"
"""The beginning of the line that says that a number has been spoilt."""


def main() -> None:
    """Takes its own arguments off the command line and leaves the rest to `gcnet train`."""
    part, step, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    del sys.argv[1:4]

    class SpoilingProgram(TrainingProgram):
        def compile(self, *arguments: Any, **options: Any) -> CompiledStep:
            compiled = super().compile(*arguments, **options)
            return SpoilingStep(**vars(compiled))

    class SpoilingStep(CompiledStep):
        def run(self, state: TrainState, batch: PyTree) -> tuple[TrainState, dict[str, Array]]:
            if int(state.step) == step:
                print(f"{NOTE} {part} after step {step}", file=sys.stderr)
                state = _spoil(state, part, random.Random(seed))
            return super().run(state, batch)

    training_run.TrainingProgram = SpoilingProgram
    process.run_alone(train.main)


def _spoil(state: TrainState, part: str, rng: random.Random) -> TrainState:
    leaves, structure = jax.tree.flatten(getattr(state, part))
    arrays = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    chosen = rng.choice(arrays)
    leaf, bad = leaves[chosen], rng.choice((jnp.nan, jnp.inf, -jnp.inf))
    place = rng.randrange(leaf.size)
    pieces = [
        jnp.ravel(shard.data).at[place].set(bad).reshape(shard.data.shape)
        for shard in leaf.addressable_shards
    ]
    leaves[chosen] = jax.make_array_from_single_device_arrays(leaf.shape, leaf.sharding, pieces)
    return dataclasses.replace(state, **{part: jax.tree.unflatten(structure, leaves)})


if __name__ == "__main__":
    main()
