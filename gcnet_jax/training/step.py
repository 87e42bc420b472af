"""One optimisation step as a pure, jitted function of the state and a batch."""

import dataclasses
from collections.abc import Callable
from typing import Self

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Int, PyTree

from gcnet_jax.parallel import compile_for, place, replicated, split_largest_axis
from gcnet_jax.task import LossFunction, Metrics
from gcnet_jax.training.optimizer import moving_average

TrainStep = Callable[["TrainState", PyTree], tuple["TrainState", Metrics]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that changes in training, as plain pytrees of arrays.

    Attributes:
        step: steps done.
        params: the model's parameters.
        statistics: the model's other variables: running means and variances.
        optimizer: the optimizer's state.
        seed: of dropout and whatever else is drawn: each step draws from a key made of the seed
            and the step alone.
        average: moving averages of `params` and `statistics` under these names, or None. The
            statistics are averaged like the parameters, because those of the newest parameters
            do not belong to the averaged ones, which are behind.
    """

    step: Int[Array, ""]
    params: PyTree
    statistics: PyTree
    optimizer: optax.OptState
    seed: Int[Array, ""]
    average: PyTree | None = None

    @property
    def variables(self) -> dict[str, PyTree]:
        """What is evaluated, and kept as the model: `params` and `statistics`, averaged or not."""
        if self.average is not None:
            return self.average
        return {"params": self.params, "statistics": self.statistics}

    @property
    def remainder(self) -> dict[str, PyTree]:
        """The part of the state that `variables` leaves out: what training alone needs."""
        rest = {"step": self.step, "optimizer": self.optimizer, "seed": self.seed}
        if self.average is not None:
            rest |= {"params": self.params, "statistics": self.statistics}
        return rest

    @classmethod
    def of_parts(cls, variables: dict[str, PyTree], remainder: dict[str, PyTree]) -> Self:
        """Returns the state whose `variables` and `remainder` these are."""
        if "params" in remainder:
            return cls(**remainder, average=variables)
        return cls(**variables, **remainder)


def create_state(
    model: nnx.Module,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    *,
    seed: int,
    averages: bool = False,
    fsdp: bool = False,
) -> tuple[nnx.GraphDef, TrainState]:
    """Splits a model into its structure, in training mode, and the state at step 0 on the mesh.

    Args:
        model: the model, which is left as it is.
        optimizer: an Optax transformation.
        mesh: the devices.
        seed: of dropout.
        averages: whether to keep moving averages.
        fsdp: see `state_shardings`.
    """
    graphdef, state = initial_state(model, optimizer, seed=seed, averages=averages)
    return graphdef, place(state, state_shardings(state, mesh, fsdp=fsdp))


def initial_state(
    model: nnx.Module,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    averages: bool = False,
) -> tuple[nnx.GraphDef, TrainState]:
    """Splits a model into its structure, in training mode, and the state at step 0.

    The state lies where the model does; `create_state` puts it on a mesh and has the same
    arguments.
    """
    model = nnx.clone(model)
    model.train()
    graphdef, params, statistics = nnx.split(model, nnx.Param, ...)
    # Copies, because steps give the buffers of the state away and the model is the caller's.
    params, statistics = jax.tree.map(
        jnp.copy, (nnx.to_pure_dict(params), nnx.to_pure_dict(statistics))
    )
    variables = {"params": params, "statistics": statistics}
    return graphdef, TrainState(
        step=jnp.zeros((), jnp.int32),
        **variables,
        optimizer=optimizer.init(params),
        seed=jnp.asarray(seed, jnp.int32),
        average=jax.tree.map(jnp.copy, variables) if averages else None,
    )


def state_shardings(state: TrainState, mesh: Mesh, *, fsdp: bool) -> TrainState:
    """How a state lies on the mesh, as a tree of shardings.

    Args:
        state: arrays, or their shapes.
        mesh: the devices.
        fsdp: whether parameters, their averages and the optimizer state are spread over the
            devices (`split_largest_axis`), which gather them as they need them. Otherwise each has
            all.
    """
    shardings = jax.tree.map(lambda _: replicated(mesh), state)
    if not fsdp:
        return shardings
    average = None
    if state.average is not None:
        params = split_largest_axis(state.average["params"], mesh)
        average = {**shardings.variables, "params": params}
    return dataclasses.replace(
        shardings,
        params=split_largest_axis(state.params, mesh),
        optimizer=split_largest_axis(state.optimizer, mesh),
        average=average,
    )


def create_train_step(
    graphdef: nnx.GraphDef,
    loss_function: LossFunction,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    *,
    schedule: optax.Schedule,
    accumulation_steps: int = 1,
    ema_decay: float = 0.0,
    state_shardings: PyTree | None = None,
) -> TrainStep:
    """Compiles (on first use) the function that takes a state and a batch to the next state.

    Args:
        graphdef: the model's structure, from `create_state`.
        loss_function: takes the model, a batch and random streams to the loss (mean over the
            batch) and scalar metrics.
        optimizer: an Optax transformation.
        mesh: batches are split over it.
        schedule: the optimizer's learning rate by step, for the metrics.
        accumulation_steps: a batch is worked through in that many parts, whose gradients are
            averaged. Batch statistics are those of each part in turn.
        ema_decay: of the state's averages, if it has any; see `moving_average`.
        state_shardings: how the state lies on the mesh; by default every device has a copy.

    Returns:
        The step function. The state passed in is donated: use the returned one. To the metrics of
        the loss function it adds `loss`, `learning_rate`, `gradient_norm` and `state_norm`, the
        norm of parameters and statistics after the step.
    """

    def gradients(params, statistics, batch, key):
        def loss_of(params):
            # A copy, because the model is written to (batch statistics) inside the differentiation.
            model = nnx.merge(graphdef, params, statistics, copy=True)
            loss, metrics = loss_function(model, batch, nnx.Rngs(key))
            _, _, new_statistics = nnx.split(model, nnx.Param, ...)
            return loss, (metrics, nnx.to_pure_dict(new_statistics))

        (loss, (metrics, statistics)), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        return grads, statistics, {"loss": loss, **metrics}

    def accumulated_gradients(params, statistics, batch, key):
        def part(statistics, inputs):
            index, batch = inputs
            grads, statistics, metrics = gradients(
                params, statistics, batch, jax.random.fold_in(key, index)
            )
            return statistics, (grads, metrics)

        def one_part(carry, inputs):
            statistics, sums = carry
            statistics, new = part(statistics, inputs)
            return (statistics, jax.tree.map(jnp.add, sums, new)), None

        indices = jnp.arange(accumulation_steps)
        parts = jax.tree.map(_interleaved_parts, batch)
        first = jax.tree.map(lambda x: x[0], (indices, parts))
        _, shapes = jax.eval_shape(part, statistics, first)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        (statistics, sums), _ = jax.lax.scan(one_part, (statistics, zeros), (indices, parts))
        grads, metrics = jax.tree.map(lambda x: x / accumulation_steps, sums)
        return grads, statistics, metrics

    def _interleaved_parts(x):
        # Every accumulation_steps-th example, so that each part stays spread over all devices.
        return jnp.moveaxis(x.reshape(-1, accumulation_steps, *x.shape[1:]), 1, 0)

    def step(state: TrainState, batch: PyTree) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(state.seed), state.step)
        compute = accumulated_gradients if accumulation_steps > 1 else gradients
        grads, statistics, metrics = compute(state.params, state.statistics, batch, key)
        updates, optimizer_state = optimizer.update(grads, state.optimizer, state.params)
        variables = {
            "params": optax.apply_updates(state.params, updates),
            "statistics": statistics,
        }
        average = state.average
        if average is not None:
            average = moving_average(average, variables, ema_decay, state.step + 1)
        new_state = TrainState(
            step=state.step + 1,
            **variables,
            optimizer=optimizer_state,
            seed=state.seed,
            average=average,
        )
        metrics["learning_rate"] = jnp.asarray(schedule(state.step))
        metrics["gradient_norm"] = optax.tree.norm(grads)
        metrics["state_norm"] = optax.tree.norm((new_state.params, new_state.statistics))
        return new_state, metrics

    return compile_for(
        mesh,
        step,
        donate_argnums=0,
        out_shardings=(
            replicated(mesh) if state_shardings is None else state_shardings,
            replicated(mesh),
        ),
    )
