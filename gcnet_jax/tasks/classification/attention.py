"""How a classifier sees one image: the square about its centre."""

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from gcnet_jax.task import Attention, SeenImage
from gcnet_jax.tasks.classification.data import evaluation_crop, evaluation_window


def _seen(image: UInt8[np.ndarray, "h w 3"], config: ConfigDict) -> SeenImage:
    data = config.data
    crop = evaluation_crop(image, data.resize_size, data.crop_size)
    size = image.shape[0], image.shape[1]
    window = evaluation_window(size, data.resize_size, data.crop_size)
    return SeenImage(crop, (data.crop_size, data.crop_size), window)


ATTENTION = Attention(seen=_seen, run=lambda model, images, sizes: model(images))
