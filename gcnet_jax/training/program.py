"""The training step of a config: as a program for shapes alone, and with arrays to run it on."""

import contextlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gcnet_jax.models import frozen_parameters
from gcnet_jax.ops.multiply_adds import traced_multiply_adds
from gcnet_jax.parallel import (
    batch_shardings,
    check_batch_size,
    check_height,
    create_mesh,
    input_shard,
    shard_batch,
)
from gcnet_jax.task import Meaning, Task
from gcnet_jax.training.optimizer import create_optimizer, learning_rate_schedule
from gcnet_jax.training.step import (
    TrainState,
    create_state,
    create_train_step,
    initial_state,
    state_shardings,
)


class ProgramMemory(NamedTuple):
    """Bytes on each device that a compiled program needs, as XLA has planned them.

    Attributes:
        arguments: what it is given: the state and the batch.
        outputs: what it returns: the state and the metrics.
        aliased: of the outputs, what takes the place of arguments that are given away.
        temporaries: everything between, activations above all, where what does not live at the
            same time shares its place.
    """

    arguments: int
    outputs: int
    aliased: int
    temporaries: int

    @classmethod
    def of(cls, compiled: jax.stages.Compiled) -> "ProgramMemory":
        """Reads the plan of a compiled program."""
        plan: Any = compiled.memory_analysis()
        return cls(
            plan.argument_size_in_bytes,
            plan.output_size_in_bytes,
            plan.alias_size_in_bytes,
            plan.temp_size_in_bytes,
        )

    @property
    def peak(self) -> int:
        """All of it: what must be free on a device for the program to run."""
        return self.arguments + self.outputs - self.aliased + self.temporaries


class CompiledStep(NamedTuple):
    """A training step that is ready to run on a state and a batch.

    Attributes:
        run: as `gcnet_jax.training.TrainStep`, for arrays of these shapes alone.
        trace_seconds: from Python to what XLA takes.
        compile_seconds: from there to the program.
    """

    run: jax.stages.Compiled
    trace_seconds: float
    compile_seconds: float

    @property
    def memory(self) -> ProgramMemory:
        """The bytes that the program needs."""
        return ProgramMemory.of(self.run)


class TrainingProgram:
    """What training runs in each step, on all devices; nothing is allocated for it.

    Args:
        task: of the run.
        config: of the run.
        meaning: of the network's outputs.
        mesh: the devices; by default all there are. A program can also be compiled for devices that
            are only described.

    Attributes:
        model: the network in training mode, as shapes.
        step: the function under `jax.jit`, see `create_train_step`.
        shapes: its arguments, the state and the batch, as shapes that know how they lie on the
            mesh.

    Raises:
        InputError: there is no such network, or a batch does not divide over the devices.
    """

    def __init__(self, task: Task, config: ConfigDict, meaning: Meaning, mesh: Mesh | None = None):
        if mesh is None:
            mesh = create_mesh(spatial=config.parallel.spatial)
        self._task, self._config, self._meaning, self._mesh = task, config, meaning, mesh
        training = config.training
        check_batch_size(
            training.batch_size,
            self._mesh,
            parts=training.accumulation_steps,
            key="training.batch_size",
        )
        batch = self._batch_shapes()
        self.model = nnx.eval_shape(self.fresh_model)
        self.model.train()
        self._optimizer = create_optimizer(
            config.optimizer, training.total_steps, frozen=frozen_parameters(self.model)
        )
        self._averages = config.optimizer.ema_decay > 0
        self.shapes = (self._state_shapes(), batch)
        self.step: Any = create_train_step(
            nnx.graphdef(self.model),
            task.loss(config),
            self._optimizer,
            self._mesh,
            schedule=learning_rate_schedule(config.optimizer, training.total_steps),
            accumulation_steps=training.accumulation_steps,
            ema_decay=config.optimizer.ema_decay,
            state_shardings=jax.tree.map(lambda x: x.sharding, self.shapes[0]),
        )

    def compile(
        self, stage: Callable[[str], contextlib.AbstractContextManager] = contextlib.nullcontext
    ) -> CompiledStep:
        """Compiles the step; allocates no array of it.

        Args:
            stage: gets the name of what takes long, and is entered while that lasts.
        """
        start = time.perf_counter()
        with stage("tracing"):
            lowered = self.step.lower(*self.shapes)
        traced = time.perf_counter()
        with stage("compiling"):
            compiled = lowered.compile()
        seconds = time.perf_counter() - traced
        return CompiledStep(compiled, traced - start, seconds)

    def multiply_adds(self) -> int:
        """Counts those of a step on all devices together, with the gradients and what is computed
        again."""
        return traced_multiply_adds(self.step.trace(*self.shapes))

    def fresh_model(self) -> nnx.Module:
        """The network with the weights that the config's seed gives it."""
        return self._task.build_model(self._config, self._meaning)

    def initial_state(self, model: nnx.Module | None = None) -> TrainState:
        """The state at step 0, on the devices.

        Args:
            model: the network with its weights; by default fresh ones.
        """
        model = model if model is not None else self.fresh_model()
        return create_state(
            model,
            self._optimizer,
            self._mesh,
            seed=self._config.seed,
            averages=self._averages,
            fsdp=self._config.parallel.fsdp,
        )[1]

    def random_batch(self) -> dict[str, jax.Array]:
        """A batch of random examples of the config's shapes, on the devices; each process makes its
        part."""
        images = self._config.training.batch_size // input_shard(self._mesh).count
        rng = np.random.default_rng(0)
        samples = [self._random_sample(rng) for _ in range(images)]
        batch = {key: np.stack([sample[key] for sample in samples]) for key in samples[0]}
        return shard_batch(batch, self._mesh, self._task.image_keys)

    def _state_shapes(self) -> TrainState:
        """The shapes of what `initial_state` returns."""
        graphdef, variables = nnx.split(self.model)

        def state(variables: PyTree) -> TrainState:
            model = nnx.merge(graphdef, variables)
            return initial_state(
                model, self._optimizer, seed=self._config.seed, averages=self._averages
            )[1]

        shapes = jax.eval_shape(state, variables)
        shardings = state_shardings(shapes, self._mesh, fsdp=self._config.parallel.fsdp)
        return jax.tree.map(_placed, shapes, shardings)

    def _random_sample(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return self._task.random_sample(self._config, self._meaning, rng)

    def _batch_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """The shapes of a batch over all processes."""
        images = self._config.training.batch_size
        sample = self._random_sample(np.random.default_rng(0))
        for key in self._task.image_keys:
            check_height(
                sample[key].shape[0],
                self._config.model.backbone.output_stride,
                self._mesh,
                key=f"the {key} of a training batch",
            )
        batch = {
            key: jax.ShapeDtypeStruct((images, *x.shape), x.dtype) for key, x in sample.items()
        }
        shardings = batch_shardings(batch, self._mesh, self._task.image_keys)
        return jax.tree.map(_placed, batch, shardings)


def _placed(x: jax.ShapeDtypeStruct, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
