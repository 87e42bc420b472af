"""SGD and the polynomial schedule of the published runs."""

import optax
from ml_collections import ConfigDict


def learning_rate_schedule(config: ConfigDict, total_steps: int) -> optax.Schedule:
    """The closed form of mmengine's `PolyLR`; reaches the final rate in the last step.

    Args:
        config: the `optimizer` section.
        total_steps: steps of the whole run.
    """
    return optax.polynomial_schedule(
        init_value=config.learning_rate,
        end_value=config.final_learning_rate,
        power=config.power,
        transition_steps=max(total_steps - 1, 1),
    )


def create_optimizer(config: ConfigDict, total_steps: int) -> optax.GradientTransformation:
    """SGD with momentum as `torch.optim.SGD`: the decay joins the gradient before momentum.

    Every parameter decays, biases and normalisation scales included, as in the reference.
    """
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay),
        optax.sgd(learning_rate_schedule(config, total_steps), momentum=config.momentum),
    )
