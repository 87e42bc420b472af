"""Batches of images with their objects, for training and evaluation."""

import functools
import itertools
import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.errors import InputError
from gcnet_jax.parallel import InputShard
from gcnet_jax.tasks.detection.config import default_config
from gcnet_jax.tasks.detection.data import (
    DATA_SETS,
    counts_of,
    decode,
    evaluation_batches,
    images_in_part,
    prepare_coco_json,
    random_samples,
    training_arrays,
    training_batches,
)
from gcnet_jax.tasks.detection.data.training_shapes import training_images
from gcnet_jax.tasks.detection.data.transforms import resize_boxes, resize_masks
from tests.tasks.detection.data.annotated import (
    CLASSES,
    MadeUp,
    annotations_of_boxes,
    prepare_made_up,
)

LYING, UPRIGHT = (36, 60), (50, 40)
IMAGES = [LYING] * 6 + [UPRIGHT] * 3


def example(number, size, boxes, *, crowds=None, masks=True):
    annotations = annotations_of_boxes(boxes, size, crowds=crowds, masks=masks)
    return MadeUp(f"{number}.png", number, size, annotations)


def examples(masks):
    """Images of which the first box says which it is; two more have no object, or are too small."""
    numbered = [
        example(i, size, [(2, 3, 10 + i, 12), *[(1, 1, 5, 5)] * (i % 3)], masks=masks)
        for i, size in enumerate(IMAGES)
    ]
    small = example(10, (31, 60), [(1, 1, 9, 9)], masks=masks)
    return [*numbered, example(9, LYING, [], masks=masks), small]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detection")
    for name, masks in (("masks", True), ("boxes", False)):
        prepare_made_up(name, folder, {"train": examples(masks)}, has_masks=masks)
    return folder


@pytest.fixture
def config(data_dir):
    """`config(**changes)` of its section data; `batch_size` is that of training."""

    def with_changes(batch_size=4, name="masks", **changes):
        config = default_config()
        config.training.batch_size = batch_size
        config.data.update(
            {"name": name, "data_dir": str(data_dir), "base_scale": (90, 60), "num_workers": 0}
        )
        config.data.update({"keep_empty": False, "flip_probability": 0.5, **changes})
        config.evaluation.batch_size = 4
        return config

    return with_changes


ALONE = InputShard(0, 1)


def take(config, count, *, state=None, shard=ALONE):
    iterator = training_batches(config, shard)
    if state is not None:
        iterator.set_state(json.loads(json.dumps(state)))
    batches = list(itertools.islice(iterator, count))
    state = iterator.get_state()
    iterator.close()
    return batches, state


def assert_same(batches, expected):
    assert len(batches) == len(expected)
    for batch, other in zip(batches, expected, strict=True):
        assert batch.keys() == other.keys()
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key])


def images_of(batch):
    """Which images these are, by the widths of the first boxes at their stored size."""
    stored = np.where(batch["size"][:, :1] > batch["size"][:, 1:], UPRIGHT, LYING)
    widths = (
        (batch["boxes"][:, 0, 2] - batch["boxes"][:, 0, 0]) * stored[:, 1] / batch["size"][:, 1]
    )
    return (np.round(widths).astype(int) - 10).tolist()


# What a batch holds ------------------------------------------------------------------------------


def test_batches_are_of_one_shape_each_and_visit_every_image(config):
    batches, _ = take(config(batch_size=3, flip_probability=0.0), 6)
    seen = []
    for batch in batches:
        shape = batch["image"].shape[1:3]
        height, width = {(64, 96): (54, 90), (96, 64): (75, 60)}[shape]
        assert (batch["size"] == (height, width)).all()
        assert batch["image"].shape == (3, *shape, 3)
        assert batch["image"][:, :height, :width].any(-1).mean() > 0.9
        assert not batch["image"][:, height:].any()
        assert not batch["image"][:, :, width:].any()
        assert batch["masks"].shape == (3, 8, shape[0], shape[1] // 8)
        assert batch["boxes"].shape == (3, 8, 4)
        assert batch["valid"].sum(1).tolist() == [1 + i % 3 for i in images_of(batch)]
        seen += images_of(batch)
    assert sorted(seen) == sorted([*range(len(IMAGES))] * 2)


def test_masks_lie_in_their_boxes_in_mirrored_images_too(config):
    (batch, other), _ = take(config(), 2)
    for each in (batch, other):
        for box, mask in zip(each["boxes"][:, 0], each["masks"][:, 0], strict=True):
            y, x = np.nonzero(np.unpackbits(mask, axis=-1))
            around = [x.min(), y.min(), x.max() + 1, y.max() + 1]
            np.testing.assert_allclose(around, box, atol=1)
    flipped = np.concatenate([each["boxes"][:, 0, 0] for each in (batch, other)])
    assert len({float(left) for left in flipped.round(2)}) > 2  # at 2 pixels from the left, or not


def test_each_sample_gets_one_of_the_scales_and_arrays_are_for_the_largest(config):
    several = config(train_scales=((90, 60), (60, 40), (60, 60)))
    assert training_arrays(several).shapes == [(64, 96), (96, 64)]
    batches, _ = take(several, 9)
    heights = {tuple(size) for batch in batches for size in batch["size"].tolist()}
    assert heights == {(54, 90), (36, 60), (75, 60), (50, 40), (60, 48)}


def test_images_are_trained_on_as_mmdetection_has_it(config, tmp_path):
    def numbers(**changes):
        return sorted(np.concatenate(training_images(config(**changes)).members).tolist())

    assert numbers() == [*range(9)]
    assert numbers(keep_empty=True) == [*range(10)]
    assert numbers(min_size=0) == [*range(9), 10]
    crowd = example(0, LYING, [(1, 1, 9, 9)], crowds=[True])
    prepare_made_up("crowd", tmp_path, {"train": [crowd, example(1, LYING, [(1, 1, 9, 9)])]})
    (batch,), _ = take(config(batch_size=2, name="crowd", data_dir=str(tmp_path)), 1)
    assert sorted(batch["valid"].sum(1)) == [0, 1]  # an annotation, though none to train on
    with pytest.raises(InputError, match=r"no image of split 'train' of 'masks' is trained on: .*"):
        training_batches(config(min_size=61), ALONE)


def test_a_shape_of_few_images_joins_another_so_that_no_batch_is_of_one_image_alone(config):
    def groups(**changes):
        images = training_images(config(**changes))
        return sorted(map(len, images.members)), images.arrays.shapes

    assert groups(batch_size=6) == ([3, 6], [(64, 96), (96, 64)])
    assert groups(batch_size=8) == ([9], [(96, 96)])


def test_sets_of_boxes_alone_have_no_masks_in_their_batches(config):
    boxes = config(name="boxes")
    with pytest.raises(InputError, match=r"boxes alone, .* --config.model.mask_head.enabled=False"):
        training_batches(boxes, ALONE)
    boxes.model.mask_head.enabled = False
    (batch,), _ = take(boxes, 1)
    without = config()
    without.model.mask_head.enabled = False
    (same,), _ = take(without, 1)
    assert "masks" not in batch
    assert_same([batch], [same])


def test_room_for_fewer_objects_than_there_are_is_refused(config):
    assert training_arrays(config()).capacity == 8
    assert training_arrays(config(max_objects=3)).capacity == 3
    message = (
        "data.max_objects is 2, and 3 images of split 'train' of 'masks' .* expected 3 or more"
    )
    with pytest.raises(InputError, match=message):
        training_batches(config(max_objects=2), ALONE)


def test_random_samples_are_like_what_batches_hold(config):
    for changes in ({}, {"max_shapes": 1}, {"max_objects": 5}):
        batches, _ = take(config(**changes), 6)
        held = [{key: (x.shape[1:], x.dtype) for key, x in batch.items()} for batch in batches]
        samples = random_samples(config(**changes), CLASSES, np.random.default_rng(0))
        assert len(samples) == len({of_batch["image"] for of_batch in held})
        for sample in samples:
            assert {key: (x.shape, x.dtype) for key, x in sample.items()} in held
            assert (sample["boxes"][:, :2] < sample["boxes"][:, 2:]).all()
            assert (sample["boxes"][:, 2:] <= sample["size"][::-1]).all()


def test_without_a_prepared_set_shapes_are_those_of_photographs_that_fill_the_scales(tmp_path):
    config = default_config()
    config.data.data_dir = str(tmp_path)
    assert training_arrays(config) == ([(800, 1344), (1344, 800)], 96)
    config.data.train_scales = ((1333, 640), (1333, 672))
    config.data.max_shapes = 1
    assert training_arrays(config).shapes == [(1344, 1344)]


boxes_in_image = st.integers(0, 30).flatmap(
    lambda start: st.tuples(st.just(start), st.integers(start, 34))
)


@settings(max_examples=40)
@given(
    new_size=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    rows=boxes_in_image,
    columns=boxes_in_image,
    flip=st.booleans(),
    seed=st.integers(0, 99),
)
def test_masks_are_resized_as_opencv_resizes_whole_images(new_size, rows, columns, flip, seed):
    mask = np.zeros((32, 36), np.uint8)
    part = mask[slice(*rows), slice(*columns)]
    part[:] = np.random.default_rng(seed).random(part.shape) < 0.7
    ours = resize_masks([counts_of(mask)] * 2, mask.shape, new_size, flip=flip)
    plain = cv2.resize(mask, new_size[::-1], interpolation=cv2.INTER_NEAREST)
    plain = plain[:, ::-1] if flip else plain
    np.testing.assert_array_equal(ours, np.packbits([plain] * 2, axis=-1))


def test_boxes_are_cut_to_the_resized_image():
    boxes = np.array([(-4, 1, 10, 4), (8, 8, 90, 90)], np.float32)
    resized = resize_boxes(boxes, (20, 40), (40, 80))
    assert resized.tolist() == [[0, 2, 12, 10], [16, 16, 80, 40]]


# Their order -------------------------------------------------------------------------------------


def test_the_seed_determines_the_batches(config):
    first, again, other = (take(config(), 4)[0] for _ in range(3))
    assert_same(first, again)
    changed = config()
    changed.seed = 1
    other, _ = take(changed, 4)
    assert [images_of(batch) for batch in first] != [images_of(batch) for batch in other]


def test_processes_share_out_batches_of_one_shape(config):
    whole, _ = take(config(), 9)
    parts = [take(config(), 9, shard=InputShard(index, 2))[0] for index in range(2)]
    together = [
        {key: np.concatenate([a[key], b[key]]) for key in a} for a, b in zip(*parts, strict=True)
    ]
    assert_same(together, whole)
    assert len({batch["image"].shape for batch in whole}) == 2
    with pytest.raises(InputError, match="batch size 4 does not divide by the 3 processes"):
        training_batches(config(), InputShard(0, 3))


def test_workers_and_threads_go_on_with_each_others_batches(config):
    alone = functools.partial(config, batch_size=1, keep_empty=True)  # one has no object at all
    expected, _ = take(alone(), 24)
    empty = [batch["valid"].any() for batch in expected].index(False)
    _, state = take(alone(), empty)
    from_workers, state = take(alone(num_workers=1), 2, state=state)
    assert_same(from_workers, expected[empty : empty + 2])
    assert_same(take(alone(), 2, state=state)[0], expected[empty + 2 : empty + 4])


def test_batches_of_another_size_go_on_with_the_next_whole_one(config):
    _, state = take(config(), 3)
    assert state == {"next_sample": 12}
    expected, _ = take(config(batch_size=8), 4)
    going_on, state = take(config(batch_size=8), 2, state=state)
    assert_same(going_on, expected[2:])
    assert_same(take(config(batch_size=8), 1, state=state)[0], take(config(batch_size=8), 5)[0][4:])


# Evaluation --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shard_count", [1, 2])
def test_evaluation_has_each_image_once_as_it_was_stored(config, data_dir, shard_count):
    seen, records = [], DATA_SETS.open_split("masks", data_dir, "train")
    for index in range(shard_count):
        options = {"shard_index": index, "shard_count": shard_count}
        batches = list(evaluation_batches(config(), "train", **options))
        assert len(batches) == 3  # of upright images one, of lying ones two
        indices = [i for batch in batches for i in batch["index"].tolist() if i >= 0]
        assert sorted(indices) == images_in_part(config(), "train", **options)
        seen += indices
        for batch in batches:
            height, width = batch["image"].shape[1:3]
            assert height % 32 == width % 32 == 0
            for row, number in enumerate(batch["index"].tolist()):
                expected = np.zeros_like(batch["image"][row])
                original, size = (batch[key][row].tolist() for key in ("original_size", "size"))
                if number < 0:
                    assert original == size == [0, 0]
                else:
                    image = decode(records[number])["image"]
                    assert original == list(image.shape[:2])
                    expected[: size[0], : size[1]] = cv2.resize(image, size[::-1])
                np.testing.assert_array_equal(batch["image"][row], expected)
    assert sorted(seen) == list(range(11))


# Photographs -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def balloons(shared, tmp_path_factory):
    """Thirteen photographs of up to 2048 pixels with polygons, prepared."""
    source, folder = shared / "instances" / "balloon", tmp_path_factory.mktemp("balloons")
    if not source.exists():
        pytest.skip("the photographs are not there")
    json_file = source / "instances_val.json"
    prepare_coco_json(
        "balloons",
        folder,
        train_json=json_file,
        train_images=source / "images",
        val_json=json_file,
    )
    return folder


def test_masks_of_photographs_lie_in_their_boxes(config, balloons):
    of_balloons = config(name="balloons", data_dir=str(balloons), base_scale=(320, 192))
    assert training_arrays(of_balloons).shapes == [(192, 320), (320, 192)]
    batches, _ = take(of_balloons, 6)
    assert len({batch["image"].shape for batch in batches}) == 2
    for batch in batches:
        for row, column in np.argwhere(batch["valid"]):
            y, x = np.nonzero(np.unpackbits(batch["masks"][row, column], axis=-1))
            around = [x.min(), y.min(), x.max() + 1, y.max() + 1]
            np.testing.assert_allclose(around, batch["boxes"][row, column], atol=2)
