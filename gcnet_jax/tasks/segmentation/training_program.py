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

from gcnet_jax.analysis import traced_multiply_adds
from gcnet_jax.models import Segmentor, build_model
from gcnet_jax.parallel import (
    batch_sharding,
    check_batch_size,
    check_height,
    create_mesh,
    input_shard,
    shard_batch,
)
from gcnet_jax.training import (
    TrainState,
    create_optimizer,
    create_state,
    create_train_step,
    initial_state,
    learning_rate_schedule,
    segmentation_loss,
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
        """That of a program."""
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
        """That it needs."""
        return ProgramMemory.of(self.run)


class TrainingProgram:
    """What training runs in each step, on all devices; nothing is allocated for it.

    Args:
        config: of the run.
        num_classes: of the data set.
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

    def __init__(self, config: ConfigDict, num_classes: int, mesh: Mesh | None = None):
        if mesh is None:
            mesh = create_mesh(spatial=config.parallel.spatial)
        self._config, self._num_classes, self._mesh = config, num_classes, mesh
        training = config.training
        check_batch_size(
            training.batch_size,
            self._mesh,
            parts=training.accumulation_steps,
            key="training.batch_size",
        )
        check_height(
            config.data.crop_size[0],
            config.model.backbone.output_stride,
            self._mesh,
            key="data.crop_size",
        )
        self._optimizer = create_optimizer(config.optimizer, training.total_steps)
        self.model = nnx.eval_shape(self.fresh_model)
        self.model.train()
        self.shapes = (self._state_shapes(), self._batch_shapes())
        self.step: Any = create_train_step(
            nnx.graphdef(self.model),
            segmentation_loss(training.auxiliary_loss_weight),
            self._optimizer,
            self._mesh,
            schedule=learning_rate_schedule(config.optimizer, training.total_steps),
            accumulation_steps=training.accumulation_steps,
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
        """Of a step on all devices together, with the gradients and what is computed again."""
        return traced_multiply_adds(self.step.trace(*self.shapes))

    def fresh_model(self) -> Segmentor:
        """The network with the weights that the config's seed gives it."""
        return build_model(
            self._config.model, num_classes=self._num_classes, seed=self._config.seed
        )

    def initial_state(self, model: Segmentor | None = None) -> TrainState:
        """The state at step 0, on the devices.

        Args:
            model: the network with its weights; by default fresh ones.
        """
        _, state = create_state(
            model or self.fresh_model(),
            self._optimizer,
            self._mesh,
            seed=self._config.seed,
            fsdp=self._config.parallel.fsdp,
        )
        return state

    def random_batch(self) -> PyTree:
        """A batch of random pixels and labels, on the devices; one part of it in each process."""
        rng, crop = np.random.default_rng(0), self._config.data.crop_size
        images = (self._config.training.batch_size // input_shard(self._mesh).count, *crop)
        batch = {
            "image": rng.integers(0, 256, (*images, 3), np.uint8),
            "label": rng.integers(0, self._num_classes, images, np.uint8),
            "size": np.tile(np.array(crop, np.int32), (images[0], 1)),
        }
        return shard_batch(batch, self._mesh)

    def _state_shapes(self) -> TrainState:
        """Those of `initial_state`."""

        graphdef, variables = nnx.split(self.model)

        def state(variables: PyTree) -> TrainState:
            model = nnx.merge(graphdef, variables)
            return initial_state(model, self._optimizer, seed=self._config.seed)[1]

        shapes = jax.eval_shape(state, variables)
        shardings = state_shardings(shapes, self._mesh, fsdp=self._config.parallel.fsdp)
        return jax.tree.map(_placed, shapes, shardings)

    def _batch_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Those of `random_batch`, over all processes."""
        images = (self._config.training.batch_size, *self._config.data.crop_size)
        batch = {
            "image": jax.ShapeDtypeStruct((*images, 3), np.uint8),
            "label": jax.ShapeDtypeStruct(images, np.uint8),
            "size": jax.ShapeDtypeStruct((images[0], 2), np.int32),
        }
        shardings = {key: batch_sharding(self._mesh, x.shape) for key, x in batch.items()}
        return jax.tree.map(_placed, batch, shardings)


def _placed(x: jax.ShapeDtypeStruct, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
