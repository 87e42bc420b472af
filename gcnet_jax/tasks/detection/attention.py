"""How a detector sees one image: resized to fit its scale, in one of few arrays."""

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from gcnet_jax.data import resize_to_fit
from gcnet_jax.task import Attention, SeenImage, at_top_left
from gcnet_jax.tasks.detection.image_shapes import array_shape


def _seen(image: UInt8[np.ndarray, "h w 3"], config: ConfigDict) -> SeenImage:
    resized = resize_to_fit(image, config.data.base_scale)
    size = resized.shape[0], resized.shape[1]
    return SeenImage(at_top_left(resized, array_shape(size, config.data.base_scale)), size)


ATTENTION = Attention(seen=_seen, run=lambda model, images, sizes: model.pyramid(images, sizes))
