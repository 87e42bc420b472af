"""A model as a pure function of its variables."""

from collections.abc import Callable
from typing import Any

from flax import nnx
from jaxtyping import Array, Float, PyTree


def functional(
    model: nnx.Module,
) -> tuple[Callable[..., Any], PyTree]:
    """A model as a pure function of its variables, in evaluation mode.

    Returns:
        `apply` and `variables` such that `apply(variables, images)` equals what the model gives
        with running statistics and without dropout. What a model takes besides, such as the sizes
        of images that lie padded in their arrays, comes behind the images. `apply` can be jitted,
        differentiated and vmapped; `variables` is a dict of nested dicts of arrays, `params` and
        `statistics`. The model itself is left as it was.
    """
    graphdef, variables = split_for_evaluation(model)

    def apply(variables: PyTree, images: Float[Array, "b h w 3"], *rest: Any) -> Any:
        return merge(graphdef, variables)(images, *rest)

    return apply, variables


def split_for_evaluation(model: nnx.Module) -> tuple[nnx.GraphDef, PyTree]:
    """The structure of a model in evaluation mode, and its variables as nested dicts of arrays."""
    copy = nnx.clone(model)
    copy.eval()
    graphdef, params, statistics = nnx.split(copy, nnx.Param, ...)
    variables = {
        "params": nnx.to_pure_dict(params),
        "statistics": nnx.to_pure_dict(statistics),
    }
    return graphdef, variables


def merge(graphdef: nnx.GraphDef, variables: PyTree) -> Any:
    """The model with a structure and variables from `split_for_evaluation`."""
    return nnx.merge(graphdef, variables["params"], variables["statistics"])
