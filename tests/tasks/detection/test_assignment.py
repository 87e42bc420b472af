import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.tasks.detection.boxes.assignment import assign
from tests import plain_boxes

BOXES, OBJECTS, IGNORED = 30, 5, 2
compiled = jax.jit(assign, static_argnames=("low_quality", "ignored_threshold"))
everywhere = np.ones(BOXES, bool)
DEFAULT = {"positive": 0.5, "negative": 0.3, "minimum_positive": 0.3, "low_quality": True}


def in_a_loop(boxes, objects, ignored, options):
    """`MaxIoUAssigner`, box by box; thresholds as float32."""
    if len(objects) == 0:
        return [0] * len(boxes)
    negative, positive, least = (
        np.float32(options[name]) for name in ("negative", "positive", "minimum_positive")
    )
    table = np.float32([[plain_boxes.overlap(o, box) for box in boxes] for o in objects])
    table = table.reshape(len(objects), len(boxes))
    for i, box in enumerate(boxes):
        if any(plain_boxes.share(box, region) > np.float32(0.5) for region in ignored):
            table[:, i] = -1
    assigned = []
    for column in table.T:
        best = column.max()
        assigned.append(0 if 0 <= best < negative else -1)
        if best >= positive:
            assigned[-1] = int(column.argmax()) + 1
    if options["low_quality"] and len(boxes):
        for k, row in enumerate(table):
            if row.max() >= least:
                for i in np.nonzero(row == row.max())[0]:
                    assigned[i] = k + 1
    return assigned


@pytest.mark.parametrize("low_quality", [False, True])
@given(
    seed=st.integers(0, 2**32 - 1),
    thresholds=st.sampled_from([(0.7, 0.3, 0.3), (0.5, 0.5, 0.5), (0.4, 0.4, 0.0)]),
    counts=st.tuples(st.integers(0, BOXES), st.integers(0, OBJECTS), st.integers(0, IGNORED)),
)
@settings(max_examples=15)
def test_boxes_get_the_objects_of_the_loop(low_quality, seed, thresholds, counts):
    """With equal overlaps, boxes without area, gaps in the padding and what it may hold."""
    generator = np.random.default_rng(seed)
    options = dict(zip(("positive", "negative", "minimum_positive"), thresholds, strict=True))
    options["low_quality"] = low_quality
    given, arrays = [], []
    for count, capacity in zip(counts, (BOXES, OBJECTS, IGNORED), strict=True):
        valid = np.isin(np.arange(capacity), generator.permutation(capacity)[:count])
        boxes = plain_boxes.drawn(generator, capacity, extent=9)
        given.append(boxes[valid])
        arrays.extend([plain_boxes.with_rubbish(generator, boxes, valid), valid])
    ours = np.asarray(
        compiled(
            *arrays[:4],
            ignored=arrays[4],
            ignored_valid=arrays[5],
            ignored_threshold=0.5,
            **options,
        )
    )
    valid, objects_valid = arrays[1], arrays[3]
    places = np.array([-1, 0, *(np.nonzero(objects_valid)[0] + 1)])
    expected = places[np.array(in_a_loop(*given, options), int) + 1]
    np.testing.assert_array_equal(ours[valid], expected)
    assert (ours[~valid] == -1).all()


def test_a_later_object_takes_the_box_that_is_its_best():
    boxes = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    objects = np.array([[0, 0, 10, 10], [0, 0, 10, 5]], np.float32)
    both = np.ones(2, bool)
    assert assign(boxes, both, objects, both, **DEFAULT).tolist() == [2, 0]
    without = DEFAULT | {"low_quality": False}
    assert assign(boxes, both, objects, both, **without).tolist() == [1, 0]


def test_of_objects_that_overlap_a_box_alike_the_first_gets_it():
    boxes = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    both = np.ones(2, bool)
    without = DEFAULT | {"low_quality": False}
    assert assign(boxes, both, boxes[[0, 0]], both, **without).tolist() == [1, 0]
    first_is_missing = np.array([False, True])
    assert assign(boxes, both, boxes[[0, 0]], first_is_missing, **without).tolist() == [2, 0]


def test_boxes_that_are_not_there_are_no_objects_best():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 4]], np.float32)
    valid, there = np.array([False, True]), np.ones(1, bool)
    assert assign(boxes, valid, boxes[:1], there, **DEFAULT).tolist() == [-1, 1]


def test_without_objects_or_boxes_there_is_nothing_to_assign():
    boxes = plain_boxes.drawn(np.random.default_rng(0), BOXES)
    none, nowhere = np.zeros((0, 4), np.float32), np.zeros(0, bool)
    assert (np.asarray(assign(boxes, everywhere, none, nowhere, **DEFAULT)) == 0).all()
    assert assign(none, nowhere, boxes, everywhere, **DEFAULT).shape == (0,)


def test_equal_overlaps_are_equal_in_optimized_programs():
    """Boxes in places where rounding differs are mirrored: each overlaps its object the same."""
    generator = np.random.default_rng(0)
    objects = plain_boxes.drawn(generator, 40, whole=False, extent=900)
    boxes = np.repeat(objects + np.float32([1.1, 0.7, 1.3, -0.9]), 5, axis=0)
    optimized = jax.jit(
        lambda b, o: assign(
            b, np.ones(200, bool), o, np.ones(40, bool), **DEFAULT | {"positive": 2.0}
        ),
        compiler_options={"xla_backend_optimization_level": 2},
    )
    expected = in_a_loop(boxes, objects, [], DEFAULT | {"positive": 2.0})
    assert optimized(boxes, objects).tolist() == expected


def test_images_of_a_batch_are_assigned_as_if_alone():
    generator = np.random.default_rng(1)
    boxes = np.stack([plain_boxes.drawn(generator, BOXES) for _ in range(2)])
    objects = np.stack([plain_boxes.drawn(generator, OBJECTS) for _ in range(2)])
    valid, objects_valid = np.ones((2, BOXES), bool), np.arange(OBJECTS) < np.array([[4], [1]])
    together = jax.vmap(lambda *args: assign(*args, **DEFAULT))(
        boxes, valid, objects, objects_valid
    )
    for i in range(2):
        alone = assign(boxes[i], valid[i], objects[i], objects_valid[i], **DEFAULT)
        np.testing.assert_array_equal(together[i], alone)
