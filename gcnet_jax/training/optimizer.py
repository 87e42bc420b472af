"""The recipe of a run: how the learning rate goes, and what an update is made of."""

import math
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Int, PyTree
from ml_collections import ConfigDict

# The learning rate -------------------------------------------------------------------------------


def learning_rate_schedule(config: ConfigDict, total_steps: int) -> optax.Schedule:
    """The learning rate by the number of steps done.

    Linear warm-up goes from `warmup_ratio` of the rate to all of it in step `warmup_steps`, as
    mmengine's `LinearLR`. Then comes one of mmengine's `PolyLR` and `CosineAnnealingLR`, which
    begin behind the warm-up and reach the final rate in the last step of the run, or `MultiStepLR`,
    whose milestones are steps of the run: after so many steps the rate is multiplied.

    Args:
        config: the `optimizer` section.
        total_steps: steps of the whole run.
    """
    warmup, peak, final = config.warmup_steps, config.learning_rate, config.final_learning_rate
    decay_steps = max(total_steps - warmup - 1, 1)
    if config.schedule == "steps":
        factors = {step - warmup: config.decay_factor for step in config.milestones}
        decay = optax.piecewise_constant_schedule(peak, factors)
    elif config.schedule == "cosine":
        decay = optax.cosine_decay_schedule(peak, decay_steps, alpha=final / peak)
    else:
        decay = _poly(peak, final, config.power, decay_steps)
    if not warmup:
        return decay
    rise = optax.linear_schedule(config.warmup_ratio * peak, peak, max(warmup - 1, 1))
    return optax.join_schedules([rise, decay], [warmup])


def _poly(initial: float, final: float, power: float, decay_steps: int) -> optax.Schedule:
    """The closed form of mmengine's `PolyLR`.

    `optax.polynomial_schedule` is the same on paper. Compiled, its 1 - step / steps can come out
    just below zero in the last step, and the power of that is NaN.
    """

    def schedule(step: ArrayLike) -> Array:
        remaining = jnp.maximum(decay_steps - jnp.asarray(step), 0) / decay_steps
        return (initial - final) * remaining**power + final

    return schedule


# Updates -----------------------------------------------------------------------------------------


def create_optimizer(
    config: ConfigDict, total_steps: int, *, frozen: Collection[str] = ()
) -> optax.GradientTransformation:
    """Momentum SGD or AdamW as PyTorch has them, behind clipping by the global norm if any.

    In SGD the weight decay joins the gradient before momentum, in AdamW it is decoupled. With
    `decay_norms_and_biases` it is that of every parameter, as in mmsegmentation's published runs;
    without, of those with two axes or more. A parameter with fewer is a bias or belongs to a
    normalisation, LayerNorms of context blocks among them; kernels have an axis for what comes in
    and one for what goes out.

    The structure of the state depends on the kind of optimizer alone, so that a run can be resumed
    with other values of all else.

    Args:
        config: the `optimizer` section.
        total_steps: steps of the whole run.
        frozen: paths of the parameters that get no gradient, parts joined by dots, as
            `gcnet_jax.models.frozen_parameters` returns them. Nothing decays them.
    """
    schedule = learning_rate_schedule(config, total_steps)
    limit, decay = config.clip_norm, config.weight_decay
    clipping = optax.clip_by_global_norm(limit) if limit else optax.identity()

    def decays(params: PyTree) -> PyTree:
        def decays_one(path: tuple[Any, ...], x: Array) -> bool:
            if jax.tree_util.keystr(path, simple=True, separator=".") in frozen:
                return False
            return config.decay_norms_and_biases or x.ndim > 1

        return jax.tree.map_with_path(decays_one, params)

    if config.name == "adamw":
        b1, b2 = config.betas
        adamw = optax.adamw(schedule, b1, b2, weight_decay=decay, mask=decays)
        return optax.chain(_without_state(clipping), adamw)
    return optax.chain(
        _without_state(clipping, optax.add_decayed_weights(decay, mask=decays)),
        optax.sgd(schedule, momentum=config.momentum),
    )


def _without_state(*parts: optax.GradientTransformation) -> optax.GradientTransformation:
    """Transformations that keep nothing, as one whose state is the same whichever they are."""
    chain = optax.chain(*parts)

    def update(updates: optax.Updates, params: optax.Params | None) -> optax.Updates:
        assert params is not None, "weight decay needs the parameters"
        return chain.update(updates, chain.init(params), params)[0]

    return optax.stateless(update)


# Averages ----------------------------------------------------------------------------------------


def moving_average(average: PyTree, new: PyTree, decay: float, count: Int[Array, ""]) -> PyTree:
    """The exponential moving average of `count` trees, the newest among them.

    A tree that is `n` steps old has the weight `decay ** n`, and the weights sum to one: what the
    average started from counts no more, so that it is of use in short runs too. That is
    `optax.ema` with its `debias`, written such that the average itself is what is kept.

    Args:
        average: of the trees before; anything finite if there is none.
        new: the newest.
        decay: above 0 and below 1.
        count: of the trees, 1 or more.
    """
    # 1 - decay ** count as it stands would lose the digits that matter where decay is near 1.
    weight = (1 - decay) / -jnp.expm1(count * math.log(decay))
    return optax.incremental_update(new, average, weight)
