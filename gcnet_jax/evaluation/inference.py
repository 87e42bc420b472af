"""From an image to class logits at its size: whole, in sliding windows, at several scales.

Source: mmsegmentation's `EncoderDecoder.slide_inference` and `SegTTAModel`.
"""

import functools
from collections.abc import Callable, Sequence

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, PyTree, UInt8
from ml_collections import ConfigDict

from gcnet_jax.data.transforms import rescaled_size
from gcnet_jax.errors import InputError
from gcnet_jax.models import Segmentor, merge
from gcnet_jax.ops import normalize_images

Predictor = Callable[[UInt8[np.ndarray, "h w 3"]], Float[np.ndarray, "h w classes"]]


def infer(
    model: Segmentor, images: Float[Array, "b h w 3"], config: ConfigDict
) -> Float[Array, "b h w classes"]:
    """Logits at the size of the images, in the mode that a config's `evaluation` section names.

    Args:
        model: in evaluation mode.
        images: normalised RGB.
        config: the section; `mode` is `whole` or `slide`, the latter with `window` and
            `window_stride` as (height, width) in pixels.

    Raises:
        InputError: an unknown mode, or windows that leave gaps.
    """
    match config.mode:
        case "whole":
            return model(images)
        case "slide":
            return sliding_windows(model, images, config.window, config.window_stride)
        case other:
            raise InputError(f"evaluation.mode is {other!r}; expected 'whole' or 'slide'")


def sliding_windows(
    model: Callable[[Float[Array, "b h w 3"]], Float[Array, "b h w classes"]],
    images: Float[Array, "b h w 3"],
    window: Sequence[int],
    stride: Sequence[int],
) -> Float[Array, "b h w classes"]:
    """The mean of a model's logits over windows, in which each pixel lies at least once.

    Windows at the lower and right border are moved inwards; images smaller than a window are one
    window.

    Args:
        model: from images to logits of the same size.
        images: normalised RGB.
        window: (height, width) in pixels.
        stride: from one window to the next, down and to the right.

    Raises:
        InputError: the stride is not positive or larger than the window, which would leave gaps.
    """
    if any(not 0 < step <= extent for step, extent in zip(stride, window, strict=True)):
        raise InputError(f"window stride {tuple(stride)} must be from 1 to the window {window}")
    batch, *size, _ = images.shape
    extents = [min(extent, length) for extent, length in zip(window, size, strict=True)]
    starts = [
        [min(i * step, length - extent) for i in range(-(-(length - extent) // step) + 1)]
        for length, extent, step in zip(size, extents, stride, strict=True)
    ]
    corners = jnp.array([(top, left) for top in starts[0] for left in starts[1]])
    times_seen = np.zeros(size, np.float32)
    for top in starts[0]:
        for left in starts[1]:
            times_seen[top : top + extents[0], left : left + extents[1]] += 1

    def add_window(
        total: Float[Array, "b h w classes"], corner: Array
    ) -> tuple[Float[Array, "b h w classes"], None]:
        at = (0, corner[0], corner[1], 0)
        logits = model(lax.dynamic_slice(images, at, (batch, *extents, images.shape[-1])))
        total = lax.dynamic_update_slice(
            total, lax.dynamic_slice(total, at, logits.shape) + logits, at
        )
        return total, None

    shape = jax.eval_shape(model, jax.ShapeDtypeStruct((batch, *extents, 3), images.dtype))
    zeros = jnp.zeros((batch, *size, shape.shape[-1]), shape.dtype)
    total, _ = lax.scan(add_window, zeros, corners)
    return total / times_seen[:, :, None]


def create_predictor(
    graphdef: nnx.GraphDef, variables: PyTree, config: ConfigDict, base_scale: tuple[int, int]
) -> Predictor:
    """A function from an 8-bit RGB image to float32 logits at its size; compiled once a size.

    Args:
        graphdef: the model's structure in evaluation mode, from `split_for_evaluation`.
        variables: its variables.
        config: the `evaluation` section of the run's config.
        base_scale: (long edge, short edge) in pixels: what an image is resized to, in its own
            aspect, before it goes through the network.
    """

    @functools.partial(jax.jit, static_argnums=2)
    def logits_of(
        variables: PyTree, image: UInt8[Array, "h w 3"], size: tuple[int, int]
    ) -> Float[Array, "out_h out_w classes"]:
        model = merge(graphdef, variables)
        return model.resize(infer(model, normalize_images(image[None]), config), size)[0]

    def predict(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w classes"]:
        height, width, _ = image.shape
        logits = logits_of(variables, resize_image(image, base_scale), (height, width))
        return np.asarray(logits, np.float32)

    return predict


def create_multi_scale_predictor(
    graphdef: nnx.GraphDef, variables: PyTree, config: ConfigDict
) -> Predictor:
    """A function from an 8-bit RGB image to class probabilities: the mean over scales and flips.

    The image goes through the network at each of `config.scales` times its own size, as it is and
    mirrored; the softmax is taken at the image's size. Arguments as for `create_predictor`.
    """

    @functools.partial(jax.jit, static_argnums=2)
    def probabilities_of(
        variables: PyTree, image: UInt8[Array, "h w 3"], size: tuple[int, int]
    ) -> Float[Array, "out_h out_w classes"]:
        model = merge(graphdef, variables)
        both = normalize_images(jnp.stack([image, image[:, ::-1]]))
        plain, mirrored = infer(model, both, config)
        logits = model.resize(jnp.stack([plain, mirrored[:, ::-1]]), size)
        return jnp.mean(jax.nn.softmax(logits, axis=-1), axis=0)

    def predict(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w classes"]:
        height, width, _ = image.shape
        total = np.zeros((), np.float32)
        for ratio in config.scales:
            scale = max(int(width * ratio + 0.5), 1), max(int(height * ratio + 0.5), 1)
            resized = resize_image(image, scale)
            total = total + np.asarray(probabilities_of(variables, resized, (height, width)))
        return total / len(config.scales)

    return predict


def resize_image(
    image: UInt8[np.ndarray, "h w 3"], scale: tuple[int, int]
) -> UInt8[np.ndarray, "out_h out_w 3"]:
    """The image in its own aspect, as large as fits into `scale` (long edge, short edge)."""
    height, width = (max(n, 1) for n in rescaled_size((image.shape[0], image.shape[1]), scale))
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
