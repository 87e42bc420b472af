"""The losses of a batch: the same bits each time, and numbers whatever the images hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gcnet_jax.errors import InputError
from gcnet_jax.tasks.detection.build_model import build_model
from gcnet_jax.tasks.detection.detector_losses import detector_losses
from gcnet_jax.tasks.detection.objects import ImageObjects, Objects, joined_objects, padded_objects
from tests.tasks.detection.narrow_detector import (
    CLASSES,
    narrow_config,
    narrow_detector,
    padded_batch,
    with_drawn_weights,
)

CANVAS = (64, 64)
CAPACITY = 3


@pytest.fixture(scope="module")
def step():
    """`step(images, objects, seed)`: losses and gradients of a detector that deforms."""
    config = narrow_config(depth=50, deformable_stages=(3,))
    config.backbone.context.position = "after_conv3"
    model = with_drawn_weights(build_model(config, num_classes=CLASSES))
    model.train()
    graphdef, params, statistics = nnx.split(model, nnx.Param, ...)

    @jax.jit
    def of_batch(params, images, sizes, objects, key):
        def total(params):
            model = nnx.merge(graphdef, params, statistics, copy=True)
            losses, _ = detector_losses(model, images, sizes, objects, nnx.Rngs(sampling=key))
            return sum(x for name, x in losses.items() if name.endswith("loss")), losses

        (_, losses), gradients = jax.value_and_grad(total, has_aux=True)(params)
        return losses, gradients

    def run(images, objects, seed=0):
        arrays = *padded_batch(images, CANVAS), together(objects)
        return of_batch(params, *arrays, jax.random.key(seed))

    return run


def together(objects):
    """The objects of several images in the arrays of a batch."""
    joined = joined_objects(objects, num_classes=CLASSES, array_size=CANVAS)
    return Objects(**jax.tree.map(jnp.asarray, padded_objects(joined, CAPACITY)))


def scene(seed, size, count):
    """An image of noise with some objects, whose masks are their boxes."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 20, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(8, 20, (count, 2))], axis=1)
    y, x = np.mgrid[: size[0], : size[1]]
    left, top, right, bottom = (side[:, None, None] for side in boxes.T)
    masks = (left <= x) & (x < right) & (top <= y) & (y < bottom)
    image = rng.standard_normal((*size, 3)).astype(np.float32)
    classes = rng.integers(0, CLASSES, count)
    packed = np.packbits(masks, axis=-1)
    return image, ImageObjects("scene", size, boxes.astype(np.float32), classes, packed)


def batch(*scenes):
    images, objects = zip(*scenes, strict=True)
    return list(images), list(objects)


def losses_of(objects, sizes=((64, 50),), canvas=CANVAS):
    model = narrow_detector()
    images = np.zeros((1, *canvas, 3), np.float32)
    return jax.eval_shape(
        lambda objects: detector_losses(model, images, np.array(sizes), objects, nnx.Rngs(0))[0],
        objects,
    )


def test_objects_and_images_that_do_not_fit_each_other_are_refused():
    _, given = scene(0, (64, 50), 2)
    objects = together([given])
    assert "mask_loss" in losses_of(objects)
    with pytest.raises(InputError, match=r"have no masks, and .* model.mask_head.enabled=False"):
        losses_of(objects._replace(masks=None))
    with pytest.raises(
        InputError, match=r"objects.masks has the shape .*; expected \(1, 3, 64, 12\)"
    ):
        losses_of(objects, canvas=(64, 96))
    with pytest.raises(InputError, match=r"objects.masks is of bool; expected packed bits"):
        losses_of(objects._replace(masks=objects.masks > 0))
    with pytest.raises(InputError, match="the images are 50x64; expected multiples of 32"):
        losses_of(objects, canvas=(50, 64), sizes=((50, 64),))
    with pytest.raises(
        InputError, match=r"image 0 has the size \(70, 50\); expected .* \(64, 64\)"
    ):
        losses_of(objects, sizes=((70, 50),))
    nothing = jax.tree.map(lambda x: x[:, :0], objects)
    with pytest.raises(InputError, match="room for 0 objects in an image; expected a capacity"):
        losses_of(nothing)


@pytest.mark.slow
def test_the_same_batch_gives_the_same_bits_and_other_samples_other_losses(step):
    given = batch(scene(0, (64, 50), 3), scene(1, (40, 64), 1))
    once, again, other = step(*given), step(*given), step(*given, seed=1)
    for x, y in zip(jax.tree.leaves(once), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(x, y)
    assert float(once[0]["class_loss"]) != float(other[0]["class_loss"])
    inside = [x for path, x in jax.tree.leaves_with_path(once[1]) if "offset" in str(path)]
    assert inside
    assert all(np.any(x) for x in inside)


@pytest.mark.slow
def test_images_without_objects_have_finite_losses_and_gradients(step):
    nothing = scene(0, (64, 64), 0)
    for given in (batch(nothing, nothing), batch(nothing, scene(1, (33, 40), 2))):
        losses, gradients = step(*given)
        for name, value in losses.items():
            assert np.isfinite(value), name
        for leaf in jax.tree.leaves(gradients):
            assert np.isfinite(leaf).all()
    losses, _ = step(*batch(nothing, nothing))
    assert losses["box_loss"] == losses["mask_loss"] == losses["rpn_box_loss"] == 0
    assert losses["rpn_class_loss"] > 0
