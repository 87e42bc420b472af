"""What the context blocks of a network get to see."""

from collections.abc import Callable
from typing import Any

from flax import nnx
from jaxtyping import Array, Bool, Float

from gcnet_jax.nn import ContextBlock
from gcnet_jax.tasks.segmentation.segmentor import Segmentor


def context_blocks(model: nnx.Module) -> dict[str, ContextBlock]:
    """The context blocks of a network by where they are, such as `decode_head.context`."""
    return {
        ".".join(map(str, path)): module
        for path, module in nnx.iter_graph(model)
        if isinstance(module, ContextBlock)
    }


def block_inputs(
    model: Segmentor, images: Float[Array, "b h w 3"]
) -> dict[str, Float[Array, "b _h _w _c"]]:
    """The features that each context block gets for the given images, by where the block is.

    Args:
        model: in evaluation mode. It is changed: pass one that was merged for this call.
        images: normalised RGB.
    """
    inputs = {}

    def recording(path: str, block: ContextBlock) -> Callable:
        def call(
            x: Float[Array, "b h w c"], mask: Bool[Array, "b h w"] | None = None
        ) -> Float[Array, "b h w c"]:
            inputs[path] = x
            return block(x, mask)

        return call

    model.backbone.remat_stages = frozenset()  # what is inside these is out of reach
    for path, block in context_blocks(model).items():
        *parents, name = path.split(".")
        parent: Any = model
        for part in parents:
            parent = parent[int(part)] if part.isdigit() else getattr(parent, part)
        setattr(parent, name, recording(path, block))
    model.head_logits(images)
    return inputs
