"""Images of several sizes in one array: each has the features that it has by itself."""

import functools

import jax
import numpy as np
import pytest
from flax import nnx

from gcnet_jax.errors import InputError
from gcnet_jax.models import ContextPlacement, FeaturePyramid, ResNet
from gcnet_jax.nn import GlobalContext
from gcnet_jax.ops import inside, strided
from gcnet_jax.tasks.detection.rpn_head import RPNHead

SIZES = [(64, 96), (32, 64), (50, 37)]


class Networks(nnx.Module):
    """All that a detector may have before its proposals, in three stages of a narrow ResNeXt."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        block = functools.partial(GlobalContext, ratio=1 / 4, rngs=rngs)
        self.backbone = ResNet(
            50,
            variant="v1b",
            output_stride=32,
            num_stages=2,
            base_channels=8,
            groups=2,
            base_width=2,
            deformable_stages=(1,),
            context=ContextPlacement(block, "after_conv3", stages=(1,)),
            rngs=rngs,
        )
        self.neck = FeaturePyramid(self.backbone.stage_channels, 8, num_outputs=3, rngs=rngs)
        self.rpn_head = RPNHead(8, 8, rngs=rngs)

    def __call__(self, images, sizes=None):
        mask = None if sizes is None else inside(sizes, images.shape[1:3])
        masks = [strided(mask, stride) for stride in self.backbone.stage_strides]
        maps = self.neck(self.backbone(images, mask), None if sizes is None else masks)
        return [array for x in maps for array in (x, *self.rpn_head(x))]


@pytest.fixture(scope="module")
def call():
    model = Networks()
    # Residuals, contexts, offsets and biases start at zero: away from there.
    for index, (_, variable) in enumerate(nnx.to_flat_state(nnx.state(model))):
        noise = jax.random.uniform(jax.random.key(index), variable.shape, minval=0.02, maxval=0.1)
        variable.set_value(variable[...] + noise)
    model.eval()
    graphdef, state = nnx.split(model)
    return jax.jit(lambda *arguments: nnx.merge(graphdef, state)(*arguments))


def test_each_image_of_a_batch_has_what_it_has_alone(call):
    rng = np.random.default_rng(0)
    images = np.zeros((len(SIZES), 64, 96, 3), np.float32)
    for index, (height, width) in enumerate(SIZES):
        images[index, :height, :width] = rng.normal(size=(height, width, 3))
    batch = [np.asarray(x) for x in call(images, np.asarray(SIZES))]
    for index, (height, width) in enumerate(SIZES):
        alone = call(images[index : index + 1, :height, :width])
        for ours, expected in zip(batch, alone, strict=True):
            expected = np.asarray(expected[0])
            within = ours[index, : expected.shape[0], : expected.shape[1]]
            np.testing.assert_allclose(within, expected, atol=2e-5 * np.abs(expected).max())
    assert not np.any(batch[0][1, 8:])  # beyond the second image, of the largest map


def test_maps_that_do_not_halve_are_refused():
    pyramid = FeaturePyramid((4, 4), 8, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match=r"of \(3, 4\) follows one of \(8, 8\); expected half"):
        pyramid((np.zeros((1, 8, 8, 4), np.float32), np.zeros((1, 3, 4, 4), np.float32)))


def test_a_pyramid_of_other_stages_is_refused():
    pyramid = FeaturePyramid((4, 4), 8, rngs=nnx.Rngs(0))
    with pytest.raises(InputError, match=r"gets 1 maps and 1 masks; expected 2, one for each"):
        pyramid((np.zeros((1, 8, 8, 4), np.float32),))
    with pytest.raises(InputError, match=r"has 2 stages and 1 outputs; expected one stage or more"):
        FeaturePyramid((4, 4), 8, num_outputs=1, rngs=nnx.Rngs(0))
