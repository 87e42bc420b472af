"""Batches of many sizes against one image at a time in NumPy, see `tests/plain.py`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.data import resize_image
from gcnet_jax.errors import InputError
from gcnet_jax.models import merge, split_for_evaluation
from gcnet_jax.parallel import create_mesh
from gcnet_jax.tasks.segmentation.build_model import build_model, model_config
from gcnet_jax.tasks.segmentation.config import default_config
from gcnet_jax.tasks.segmentation.data import scaled_sizes
from gcnet_jax.tasks.segmentation.evaluation import (
    NetworkInference,
    SlidingWindows,
    create_tile_scorer,
    inference_mode,
    pixel_scores,
    score_pixels,
    tile_starts,
    tiles,
)
from tests import plain

RATIOS = (0.5, 1.25)


class Coarse(nnx.Module):
    """A stand-in for a network: every fourth pixel, less the mean of all that it sees."""

    decode_stride = 4

    def __init__(self, align_corners: bool):
        self.align_corners = align_corners
        self.scale = nnx.Param(jnp.array([1.0, -2.0, 0.5]))

    def decode(self, images, sizes):
        pixels = jnp.prod(sizes, axis=-1)[:, None, None, None]
        mean = images.sum((1, 2), keepdims=True) / pixels
        return (images - mean)[:, ::4, ::4] * self.scale[...]

    def decoded_length(self, length):
        return -(-length // 4)


def coarse(image):
    return (image - image.mean((0, 1)))[::4, ::4] * np.array([1.0, -2.0, 0.5])


def run_config(mode="whole", window=(8, 8), stride=(5, 5), base_scale=(24, 24), at_once=0):
    config = default_config()
    config.data.base_scale = base_scale
    config.evaluation.mode = mode
    config.evaluation.window, config.evaluation.window_stride = window, stride
    config.evaluation.windows_at_once = at_once
    config.evaluation.scales = RATIOS
    return config


def padded(images, buckets, sizes):
    """The images at each scale, in arrays of the size of the scale's bucket."""
    scaled = []
    for index, bucket in enumerate(buckets):
        array = np.zeros((len(images), *bucket, 3), np.uint8)
        for i, image in enumerate(images):
            height, width = sizes[i][index]
            array[i, :height, :width] = resize_image(image, (height, width))
        size = np.array([of_image[index] for of_image in sizes], np.int32)
        scaled.append({"image": array, "size": size})
    return scaled


@functools.cache
def stand_in(align_corners):
    """The structure of the stand-in network and its variables."""
    return split_for_evaluation(Coarse(align_corners))


@functools.cache
def batched(graphdef, mode, window, stride, at_once, multi_scale):
    """Inference with one configuration, and its compiled way to scores."""
    config = run_config(mode, window, stride, at_once=at_once).evaluation
    inference = NetworkInference(graphdef, config, mirrored_too=multi_scale)

    @functools.partial(jax.jit, static_argnums=4)
    def scores_of(variables, logits, scaled, out_sizes, out_bucket):
        passes = inference.views(variables, logits, scaled, out_sizes, out_bucket)
        return score_pixels(passes, lambda scores: scores)

    return inference, scores_of


def batched_scores(graphdef, variables, config, images, *, multi_scale, bucket):
    """Scores of images of several sizes in one batch, in arrays of one size at all scales."""
    evaluation = config.evaluation
    inference, scores_of = batched(
        graphdef,
        evaluation.mode,
        evaluation.window,
        evaluation.window_stride,
        evaluation.windows_at_once,
        multi_scale,
    )
    sizes = [scaled_sizes(i.shape[:2], config, multi_scale=multi_scale) for i in images]
    scaled = padded(images, [bucket] * len(sizes[0]), sizes)
    logits = inference.decode(variables, scaled)
    out_sizes = np.array([image.shape[:2] for image in images])
    scores = np.asarray(scores_of(variables, logits, scaled, out_sizes, bucket))
    return [s[:h, :w] for s, (h, w) in zip(scores, out_sizes, strict=True)]


def plain_scores(network, align_corners, config, image, *, multi_scale):
    evaluation, infer = config.evaluation, plain.whole(network, align_corners)
    if evaluation.mode == "slide":
        infer = plain.slide(network, align_corners, evaluation.window, evaluation.window_stride)
    if multi_scale:
        return plain.multi_scale_scores(infer, image, evaluation.scales, align_corners)
    return plain.scores(infer, image, config.data.base_scale, align_corners)


def random_images(sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


sides = st.integers(1, 21)
some_sizes = st.lists(st.tuples(sides, sides), min_size=3, max_size=3)
modes = st.sampled_from(
    [
        ("whole", (8, 8), (8, 8), 0),
        ("slide", (8, 12), (5, 12), 0),
        ("slide", (30, 9), (7, 2), 2),
    ]
)


@settings(max_examples=40, deadline=None)
@given(
    sizes=some_sizes,
    mode=modes,
    base_scale=st.tuples(sides, sides),
    align_corners=st.booleans(),
    multi_scale=st.booleans(),
)
def test_every_image_of_a_batch_scores_as_if_it_were_alone(
    sizes, mode, base_scale, align_corners, multi_scale
):
    config = run_config(*mode[:3], at_once=mode[3], base_scale=base_scale)
    graphdef, variables = stand_in(align_corners)
    images = random_images(sizes)
    batch = batched_scores(
        graphdef, variables, config, images, multi_scale=multi_scale, bucket=(28, 30)
    )
    for image, ours in zip(images, batch, strict=True):
        expected = plain_scores(coarse, align_corners, config, image, multi_scale=multi_scale)
        np.testing.assert_allclose(ours, expected, atol=2e-5)


def narrow(block, position, align_corners=False):
    """A network with a context block in its head and in its backbone, weights drawn at random."""
    config = model_config("gcnet_r18v1d-d16")
    config.align_corners = align_corners
    config.backbone.base_channels = 8
    config.backbone.num_stages = 2
    config.decode_head.stage = 1
    config.backbone.context.stages = (1,)
    config.decode_head.channels = 8
    config.auxiliary_head.enabled = False
    for context in (config.decode_head.context, config.backbone.context):
        name, _, option = block.partition(" ")
        context.block = name
        context.global_context.ratio = 0.5
        if option:
            key, value = option.split("=")
            section = context[name]
            section[key] = type(section[key])(value)
    config.backbone.context.position = position
    graphdef, variables = split_for_evaluation(build_model(config, num_classes=5))
    rng = np.random.default_rng(0)

    def positive_noise(x):
        # Negative variances would be none, and zeros would hide the blocks.
        return x + 0.05 * jnp.abs(rng.standard_normal(x.shape).astype(x.dtype))

    return graphdef, jax.tree.map(positive_noise, variables)


BLOCKS = {
    "global_context": "after_conv1",
    "global_context pooling=average": "after_conv2",
    "global_context fusion=both": "after_add",
    "non_local": "after_conv1",
    "non_local sub_sample=1": "after_conv2",
    "non_local mode=gaussian": "after_add",
    "non_local mode=dot_product": "after_conv1",
    "non_local mode=concatenation": "after_conv2",
    "simplified_non_local": "after_add",
    "squeeze_excite": "after_conv1",
}


@pytest.mark.parametrize("block", BLOCKS)
def test_networks_with_every_block_treat_a_batch_as_single_images(block):
    graphdef, variables = narrow(block, BLOCKS[block])
    apply = jax.jit(lambda variables, *args: merge(graphdef, variables)(*args))
    sizes = np.array([(32, 40), (19, 27)])
    images = np.random.default_rng(0).standard_normal((2, 32, 40, 3)).astype(np.float32)
    images[1, 19:] = images[1, :, 27:] = 0
    ours = np.asarray(apply(variables, images, sizes))
    expected = np.asarray(apply(variables, images[1:, :19, :27]))[0]
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(ours[1, :19, :27], expected, atol=1e-5 * np.abs(expected).max())
    assert (ours[1, 19:] == 0).all()
    assert (ours[1, :, 27:] == 0).all()


WAYS = [("whole", False), ("whole", True), ("slide", False), ("slide", True)]
"""Modes of inference, at one scale or several."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("block", "mode", "multi_scale"),
    [
        # Each block in one way, each way with several blocks; all pairs in the campaign.
        pytest.param(block, *way, marks=[pytest.mark.campaign] * (index % len(WAYS) != way_index))
        for index, block in enumerate(BLOCKS)
        for way_index, way in enumerate(WAYS)
    ],
)
def test_networks_with_every_block_score_a_batch_as_single_images(block, mode, multi_scale):
    graphdef, variables = narrow(block, BLOCKS[block])
    decode = jax.jit(lambda variables, images: merge(graphdef, variables).decode(images))
    config = run_config(mode, window=(48, 64), stride=(31, 40), base_scale=(80, 64))
    rng = np.random.default_rng(len(block))
    smallest = 33 if "sub_sample" in block else 8  # at half the size two positions must be left
    images = random_images(rng.integers(smallest, 64, (3, 2)).tolist())
    batch = batched_scores(
        graphdef, variables, config, images, multi_scale=multi_scale, bucket=(90, 90)
    )
    for image, ours in zip(images, batch, strict=True):
        expected = plain_scores(
            lambda x: np.asarray(decode(variables, x[None]))[0],
            False,
            config,
            image,
            multi_scale=multi_scale,
        )
        # Logits are in the tens here: the exponential makes much of their rounding.
        tolerance = 1e-4 if multi_scale else 2e-5 * np.abs(expected).max()
        np.testing.assert_allclose(ours, expected, atol=tolerance)


@settings(max_examples=10, deadline=None)
@given(sizes=some_sizes, align_corners=st.booleans(), multi_scale=st.booleans())
def test_tiles_of_every_image_make_its_whole(sizes, align_corners, multi_scale):
    graphdef, variables = stand_in(align_corners)
    images, config, bucket = random_images(sizes), run_config(), (28, 30)
    whole = batched_scores(
        graphdef, variables, config, images, multi_scale=multi_scale, bucket=bucket
    )
    inference, score = in_tiles(graphdef, multi_scale)
    scaled_to = [scaled_sizes(size, config, multi_scale=multi_scale) for size in sizes]
    scaled = padded(images, [bucket] * len(scaled_to[0]), scaled_to)
    logits = inference.decode(variables, scaled)
    joined = [np.full_like(scores, np.nan) for scores in whole]
    for starts in tile_starts(np.array(sizes)):
        found = np.asarray(score(variables, logits, scaled, np.array(sizes, np.int32), starts))
        for of_image, tile, (row, column) in zip(joined, found, starts, strict=True):
            if row >= 0:
                part = of_image[row : row + tiles.TILE[0], column : column + tiles.TILE[1]]
                part[...] = tile[: part.shape[0], : part.shape[1]]
    for ours, expected in zip(joined, whole, strict=True):
        np.testing.assert_allclose(ours, expected, atol=2e-5)


@functools.cache
def in_tiles(graphdef, multi_scale):
    """Inference and its way to the scores of tiles."""
    mesh = create_mesh(jax.devices()[:1])
    config = run_config().evaluation
    inference = NetworkInference(graphdef, config, mirrored_too=multi_scale, mesh=mesh)
    return inference, create_tile_scorer(inference, mesh, lambda scores: scores)


@pytest.fixture(autouse=True, scope="module")
def small_tiles():
    """Several in each of these images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "TILE", (8, 13))
        yield


def test_stripes_of_rows_make_the_whole(monkeypatch):
    graphdef, variables = stand_in(True)
    (image,), config = random_images([(19, 13)]), run_config()

    def scores():
        batched.cache_clear()
        return batched_scores(
            graphdef, variables, config, [image], multi_scale=True, bucket=(28, 30)
        )

    (at_once,) = scores()
    monkeypatch.setattr(pixel_scores, "_STRIPE_ELEMENTS", 500)
    (in_stripes,) = scores()
    batched.cache_clear()
    np.testing.assert_allclose(in_stripes, at_once, atol=1e-6)


@pytest.mark.parametrize("stride", [(0, 4), (4, -1), (4, 9)])
def test_strides_that_would_leave_gaps_are_refused(stride):
    with pytest.raises(InputError, match="window stride"):
        SlidingWindows((8, 8), stride)


def test_an_unknown_mode_is_refused_with_those_that_exist():
    config = default_config().evaluation
    config.mode = "crop"
    with pytest.raises(InputError, match="'crop'; expected 'whole' or 'slide'"):
        inference_mode(config)
