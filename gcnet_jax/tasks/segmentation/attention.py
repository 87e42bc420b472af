"""How a segmentor sees one image: resized as in an evaluation, in an array of similar sizes."""

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from gcnet_jax.data import resize_image
from gcnet_jax.task import Attention, SeenImage, at_top_left
from gcnet_jax.tasks.segmentation.data import scaled_sizes

_STEP = 32  # of the arrays' heights and widths


def _seen(image: UInt8[np.ndarray, "h w 3"], config: ConfigDict) -> SeenImage:
    (size,) = scaled_sizes((image.shape[0], image.shape[1]), config, multi_scale=False)
    height, width = (-(-length // _STEP) * _STEP for length in size)
    return SeenImage(at_top_left(resize_image(image, size), (height, width)), size)


ATTENTION = Attention(seen=_seen, run=lambda model, images, sizes: model.decode(images, sizes))
