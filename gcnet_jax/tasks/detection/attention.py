"""How a detector sees one image: resized to fit its scale, in one of few arrays."""

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from gcnet_jax.data import rescaled_size, resize_image
from gcnet_jax.task import Attention, SeenImage, at_top_left
from gcnet_jax.tasks.detection.image_shapes import array_shape


def _seen(image: UInt8[np.ndarray, "h w 3"], config: ConfigDict) -> SeenImage:
    size = rescaled_size((image.shape[0], image.shape[1]), config.data.base_scale)
    shape = array_shape(size, config.data.base_scale)
    return SeenImage(at_top_left(resize_image(image, size), shape), size)


ATTENTION = Attention(seen=_seen, run=lambda model, images, sizes: model.pyramid(images, sizes))
