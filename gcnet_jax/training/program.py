"""The training step of a config: as a program for shapes alone, and with arrays to run it on."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from gcnet_jax.task import Meaning, Metrics, Task
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


ArrayShapes = tuple[tuple[int, ...], ...]
"""The shapes of all arrays of a batch, in the order of its tree."""


@dataclasses.dataclass(frozen=True)
class CompiledStep:
    """A training step that is ready to run on a state and a batch.

    Attributes:
        programs: one for each shape that batches may have, that of the largest first.
        trace_seconds: from Python to what XLA takes, for all of them.
        compile_seconds: from there to the programs.
    """

    programs: Mapping[ArrayShapes, jax.stages.Compiled]
    trace_seconds: float
    compile_seconds: float

    def run(self, state: TrainState, batch: PyTree) -> tuple[TrainState, Metrics]:
        """Takes a step, see `gcnet_jax.training.TrainStep`."""
        shapes = _shapes_of(batch)
        if shapes not in self.programs:
            raise RuntimeError(
                f"a training batch has arrays of the shapes {shapes}; the step was compiled for "
                + " and ".join(map(str, self.programs))
            )
        return self.programs[shapes](state, batch)

    @property
    def largest(self) -> jax.stages.Compiled:
        """The program for the largest batch."""
        return next(iter(self.programs.values()))

    @property
    def memory(self) -> ProgramMemory:
        """The bytes that the program for the largest batch needs."""
        return ProgramMemory.of(self.largest)


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
        shapes: its arguments, the state and the largest batch, as shapes that know how they lie on
            the mesh.
        batches: all batches that there may be, as such shapes; the largest first.

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
        self.batches = [self._batch_of(x) for x in self._random_samples(np.random.default_rng(0))]
        self.model = nnx.eval_shape(self.fresh_model)
        self.model.train()
        self._optimizer = create_optimizer(
            config.optimizer, training.total_steps, frozen=frozen_parameters(self.model)
        )
        self._averages = config.optimizer.ema_decay > 0
        self.shapes = (self._state_shapes(), self.batches[0])
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
        """Compiles the step for each shape of a batch; allocates no array of it.

        Args:
            stage: gets the name of what takes long, and is entered while that lasts.
        """
        programs, seconds, state = {}, {"tracing": 0.0, "compiling": 0.0}, self.shapes[0]

        @contextlib.contextmanager
        def timed(doing: str, what: str) -> Iterator[None]:
            start = time.perf_counter()
            with stage(f"{doing}{what}"):
                yield
            seconds[doing] += time.perf_counter() - start

        for number, batch in enumerate(self.batches, start=1):
            what = ""
            if len(self.batches) > 1:
                what = f" for {self._size_of_images(batch)}, {number} of {len(self.batches)}"
            with timed("tracing", what):
                lowered = self.step.lower(state, batch)
            with timed("compiling", what):
                programs[_shapes_of(batch)] = lowered.compile()
        return CompiledStep(programs, seconds["tracing"], seconds["compiling"])

    def multiply_adds(self) -> int:
        """Counts those of a step on all devices together, with the largest batch, the gradients and
        what is computed again."""
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
        """The largest batch, of random examples, on the devices; each process makes its part."""
        images = self._config.training.batch_size // input_shard(self._mesh).count
        rng = np.random.default_rng(0)
        samples = [self._random_samples(rng)[0] for _ in range(images)]
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

    def _random_samples(self, rng: np.random.Generator) -> Sequence[dict[str, np.ndarray]]:
        return self._task.random_samples(self._config, self._meaning, rng)

    def _batch_of(self, sample: dict[str, np.ndarray]) -> dict[str, jax.ShapeDtypeStruct]:
        """The shapes of a batch over all processes, of examples like one."""
        images = self._config.training.batch_size
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

    def _size_of_images(self, batch: dict[str, jax.ShapeDtypeStruct]) -> str:
        height, width = batch[next(iter(self._task.image_keys))].shape[1:3]
        return f"{height}x{width}"


def _shapes_of(batch: PyTree) -> ArrayShapes:
    return tuple(x.shape for x in jax.tree.leaves(batch))


def _placed(x: jax.ShapeDtypeStruct, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
