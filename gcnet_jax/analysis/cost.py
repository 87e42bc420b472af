"""What networks cost: multiply-adds for an image, and parameters."""

import jax
import jax.numpy as jnp
from flax import nnx

from gcnet_jax.models import functional
from gcnet_jax.ops.multiply_adds import multiply_adds


def image_cost(network: nnx.Module, size: tuple[int, int]) -> int:
    """Multiply-adds of a segmentor or backbone for one RGB image of `size` (height, width).

    The network is taken in evaluation mode; it may hold shapes alone (`nnx.eval_shape`).
    """
    apply, variables = functional(network)
    return multiply_adds(apply, variables, jax.ShapeDtypeStruct((1, *size, 3), jnp.float32))


def parameter_count(module: nnx.Module) -> int:
    """The number of trained values in a module; it may hold shapes alone (`nnx.eval_shape`)."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))
