"""The context blocks of a network, and what they get to see."""

from collections.abc import Callable
from typing import Any, NamedTuple

from flax import nnx
from jaxtyping import Array, Bool, Float

from gcnet_jax.nn import ContextBlock


class BlockInput(NamedTuple):
    """What a context block is called with.

    Attributes:
        features: its input.
        mask: where they are; None if everywhere.
    """

    features: Float[Array, "b h w c"]
    mask: Bool[Array, "b h w"] | None


def context_blocks(model: nnx.Module) -> dict[str, ContextBlock]:
    """The context blocks of a network by where they are, such as `decode_head.context`."""
    return {
        ".".join(map(str, path)): module
        for path, module in nnx.iter_graph(model)
        if isinstance(module, ContextBlock)
    }


def record_block_inputs(model: Any, run: Callable[[], object]) -> dict[str, BlockInput]:
    """What each context block is called with while something is done, by where the block is.

    Args:
        model: with a `backbone`, in evaluation mode. It is changed: pass one that was merged for
            this call.
        run: calls the model.
    """
    inputs: dict[str, BlockInput] = {}

    def recording(path: str, block: ContextBlock) -> Callable:
        def call(
            x: Float[Array, "b h w c"], mask: Bool[Array, "b h w"] | None = None
        ) -> Float[Array, "b h w c"]:
            inputs[path] = BlockInput(x, mask)
            return block(x, mask)

        return call

    model.backbone.remat_stages = frozenset()  # what is inside these is out of reach
    for path, block in context_blocks(model).items():
        *parents, name = path.split(".")
        parent: Any = model
        for part in parents:
            parent = parent[int(part)] if part.isdigit() else getattr(parent, part)
        setattr(parent, name, recording(path, block))
    run()
    return inputs
