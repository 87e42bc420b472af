"""What the context blocks of a segmentor get to see."""

from jaxtyping import Array, Float

from gcnet_jax.models import record_block_inputs
from gcnet_jax.tasks.segmentation.segmentor import Segmentor


def block_inputs(
    model: Segmentor, images: Float[Array, "b h w 3"]
) -> dict[str, Float[Array, "b _h _w _c"]]:
    """The features that each context block gets for the given images, by where the block is.

    Args:
        model: in evaluation mode. It is changed: pass one that was merged for this call.
        images: normalised RGB.
    """
    inputs = record_block_inputs(model, lambda: model.head_logits(images))
    return {path: features for path, (features, _) in inputs.items()}
