"""How a segmentor sees one image whole: resized as in an evaluation, in one of few arrays."""

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from gcnet_jax.data import resize_to_fit
from gcnet_jax.errors import InputError
from gcnet_jax.task import Attention, SeenImage, at_top_left

_STEP = 32  # of the arrays' heights and widths


def _seen(image: UInt8[np.ndarray, "h w 3"], config: ConfigDict) -> SeenImage:
    resized = resize_to_fit(image, config.data.base_scale)
    size = resized.shape[0], resized.shape[1]
    window = tuple(config.evaluation.window)
    if config.evaluation.mode == "slide" and (size[0] > window[0] or size[1] > window[1]):
        raise InputError(
            f"the network sees this image of {size[0]}x{size[1]} in windows of "
            f"{window[0]}x{window[1]} (evaluation.mode is 'slide'), so that no context block "
            "attends over the whole of it; evaluation.mode='whole' has a map"
        )
    height, width = (-(-length // _STEP) * _STEP for length in size)
    return SeenImage(at_top_left(resized, (height, width)), size)


ATTENTION = Attention(seen=_seen, run=lambda model, images, sizes: model.decode(images, sizes))
