"""SGD and the polynomial schedule of the published runs."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike
from ml_collections import ConfigDict


def learning_rate_schedule(config: ConfigDict, total_steps: int) -> optax.Schedule:
    """The closed form of mmengine's `PolyLR`; reaches the final rate in the last step.

    `optax.polynomial_schedule` is the same on paper. Compiled, its 1 - step / steps can come out
    just below zero in the last step, and the power of that is NaN.

    Args:
        config: the `optimizer` section.
        total_steps: steps of the whole run.
    """
    initial, final, power = config.learning_rate, config.final_learning_rate, config.power
    decay_steps = max(total_steps - 1, 1)

    def schedule(step: ArrayLike) -> Array:
        remaining = jnp.maximum(decay_steps - jnp.asarray(step), 0) / decay_steps
        return (initial - final) * remaining**power + final

    return schedule


def create_optimizer(config: ConfigDict, total_steps: int) -> optax.GradientTransformation:
    """SGD with momentum as `torch.optim.SGD`: the decay joins the gradient before momentum.

    Every parameter decays, biases and normalisation scales included, as in the reference.
    """
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay),
        optax.sgd(learning_rate_schedule(config, total_steps), momentum=config.momentum),
    )
