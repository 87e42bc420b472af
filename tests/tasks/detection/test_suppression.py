import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gcnet_jax.tasks.detection.boxes.suppression import suppress, suppress_by_class
from tests import plain_boxes

BOXES = 150  # more than one block
compiled = jax.jit(suppress, static_argnames="limit")
compiled_by_class = jax.jit(suppress_by_class, static_argnames="limit")


def kept(result):
    indices, valid = np.asarray(result.indices), np.asarray(result.valid)
    assert (np.sort(~valid) == ~valid).all(), "valid ones come first"
    assert (indices[~valid] == 0).all()
    return indices[valid].tolist()


@given(
    seed=st.integers(0, 2**32 - 1),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    threshold=st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]),
    levels=st.sampled_from([3, 1000]),
    extent=st.sampled_from([6, 12, 40]),
)
@settings(max_examples=12)
@example(seed=0, share=0.0, threshold=0.5, levels=3, extent=12)
def test_the_boxes_kept_are_those_of_the_loop(seed, share, threshold, levels, extent):
    """With ties of scores and overlaps, boxes without area, and padding that holds anything."""
    generator = np.random.default_rng(seed)
    boxes = plain_boxes.drawn(generator, BOXES, extent=extent)
    scores = (generator.integers(0, levels, BOXES) / levels).astype(np.float32)
    valid = generator.random(BOXES) < share
    (there,) = np.nonzero(valid)
    expected = there[plain_boxes.suppressed(boxes[there], scores[there], threshold)]

    boxes = plain_boxes.with_rubbish(generator, boxes, valid)
    scores = np.where(valid, scores, generator.choice([np.nan, np.inf, -np.inf], BOXES))
    result = compiled(boxes, scores.astype(np.float32), valid, threshold=threshold, limit=BOXES)
    assert kept(result) == expected.tolist()


@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.0, 0.7, 1.0]))
@settings(max_examples=6)
def test_groups_are_moved_apart_by_the_largest_valid_coordinate(seed, share):
    generator = np.random.default_rng(seed)
    boxes = plain_boxes.drawn(generator, BOXES, whole=False, extent=30)
    scores = generator.random(BOXES).astype(np.float32)
    groups = generator.integers(0, 80, BOXES) // 20 * 20
    valid = generator.random(BOXES) < share
    (there,) = np.nonzero(valid)
    expected = []
    if len(there):
        apart = plain_boxes.moved_apart(boxes[there], groups[there])
        expected = there[plain_boxes.suppressed(apart, scores[there], 0.5)].tolist()
    rubbish = plain_boxes.with_rubbish(generator, boxes, valid)
    ours = compiled(rubbish, scores, valid, threshold=0.5, limit=BOXES, groups=groups)
    assert kept(ours) == expected


def rounded_pairs():
    """Pairs of boxes of which the offset of group 79 turns the decision, by rounding."""
    generator = np.random.default_rng(0)
    while True:
        first = np.float32([*generator.uniform(100, 200, 2), *generator.uniform(300, 400, 2)])
        second = first.copy()
        second[2] = first[0] + (first[2] - first[0]) * np.float32(0.5 + 1e-5)
        pair = np.stack([first, second, np.float32([0, 0, 1, 1332])])
        groups = np.array([79, 79, 0])
        scores = np.float32([0.9, 0.8, 0.1])
        apart = plain_boxes.suppressed(plain_boxes.moved_apart(pair, groups), scores, 0.5)
        if apart != plain_boxes.suppressed(pair, scores, 0.5):
            yield pair, scores, groups, apart


def test_offsets_round_coordinates_as_the_reference_does():
    pairs = rounded_pairs()
    for _ in range(3):
        pair, scores, groups, expected = next(pairs)
        everywhere = np.ones(3, bool)
        ours = compiled(pair, scores, everywhere, threshold=0.5, limit=3, groups=groups)
        assert kept(ours) == expected
        scores_by_class = np.zeros((3, 80), np.float32)
        scores_by_class[np.arange(3), groups] = scores
        ours = compiled_by_class(
            pair, scores_by_class, everywhere, score_threshold=0.05, threshold=0.5, limit=3
        )
        assert [pair // 80 for pair in kept(ours)] == expected


def test_of_a_chain_every_other_box_is_kept():
    """Each overlaps the next alone: whether one is kept depends on all before it."""
    starts = np.arange(BOXES, dtype=np.float32)
    boxes = np.stack([starts, 0 * starts, starts + 1.9, 0 * starts + 1], axis=1)
    ours = compiled(boxes, -starts, np.ones(BOXES, bool), threshold=0.3, limit=BOXES)
    assert kept(ours) == list(range(0, BOXES, 2))


@pytest.mark.parametrize(
    ("threshold", "wide", "narrow"), [(0.5, 10, 5), (0.7, 10, 7), (0.3, 10, 3), (0.6, 15, 9)]
)
def test_an_overlap_of_just_the_threshold_suppresses_nothing(threshold, wide, narrow):
    boxes = np.array([[0, 0, wide, 10], [0, 0, narrow, 10], [0, 0, narrow, 10.1]], np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    result = compiled(boxes[:2], scores[:2], np.ones(2, bool), threshold=threshold, limit=3)
    assert kept(result) == [0, 1]
    larger = np.array([[0, 0, wide, 10], [0, 0, narrow + 0.01, 10]], np.float32)
    result = compiled(larger, scores[:2], np.ones(2, bool), threshold=threshold, limit=3)
    assert kept(result) == [0]


def test_no_more_than_the_limit_are_kept():
    boxes = np.arange(BOXES, dtype=np.float32)[:, None] * 3 + np.float32([0, 0, 1, 1])
    scores, everywhere = np.ones(BOXES, np.float32), np.ones(BOXES, bool)
    for limit in (1, BOXES - 3):
        ours = compiled(boxes, scores, everywhere, threshold=0.5, limit=limit)
        assert kept(ours) == list(range(limit))


def test_of_no_boxes_none_are_kept():
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, bool)
    assert kept(suppress(*nothing, threshold=0.5, limit=3)) == []
    scores = np.zeros((0, 5), np.float32)
    by_class = suppress_by_class(
        nothing[0], scores, nothing[2], score_threshold=0.0, threshold=0.5, limit=3
    )
    assert kept(by_class) == []


def by_class_in_a_loop(boxes, scores, score_threshold, threshold, limit):
    """The reference's `multiclass_nms`, class by class."""
    rows, classes = np.nonzero(scores > np.float32(score_threshold))
    if len(rows) == 0:
        return []
    found = np.broadcast_to(boxes if boxes.ndim == 3 else boxes[:, None], (*scores.shape, 4))
    found = plain_boxes.moved_apart(found[rows, classes], classes)
    left, pairs = [], rows * scores.shape[1] + classes
    for label in np.unique(classes):
        (own,) = np.nonzero(classes == label)
        remaining = plain_boxes.suppressed(found[own], scores[rows[own], label], threshold)
        left.extend(own[remaining].tolist())
    left = np.sort(left)
    best = left[np.argsort(-scores[rows[left], classes[left]], kind="stable")]
    return pairs[best][:limit].tolist()


@pytest.mark.parametrize("boxes_of_a_row", [1, 4])
@given(
    seed=st.integers(0, 2**32 - 1),
    score_threshold=st.sampled_from([0.05, 0.5, 1.0]),
    levels=st.sampled_from([4, 1000]),
)
@settings(max_examples=6)
def test_the_pairs_kept_are_those_of_a_loop_over_classes(
    boxes_of_a_row, seed, score_threshold, levels
):
    generator = np.random.default_rng(seed)
    rows, classes = 30, 4
    boxes = plain_boxes.drawn(generator, rows * boxes_of_a_row)
    boxes = boxes.reshape(rows, boxes_of_a_row, 4) if boxes_of_a_row > 1 else boxes
    scores = (generator.integers(0, levels, (rows, classes)) / levels).astype(np.float32)
    valid = np.arange(rows) < 25
    expected = by_class_in_a_loop(boxes[:25], scores[:25], score_threshold, 0.5, 20)
    boxes[~valid], scores[~valid] = np.nan, np.inf
    ours = compiled_by_class(
        boxes, scores, valid, score_threshold=score_threshold, threshold=0.5, limit=20
    )
    assert kept(ours) == expected


def test_the_last_of_more_than_10000_candidates_may_be_among_the_best():
    """Of 200 equal boxes a class keeps one; what is far away has the least scores of all."""
    rows, classes = 220, 80
    generator = np.random.default_rng(0)
    boxes = np.tile(np.float32([10, 10, 50, 60]), (rows, 1))
    boxes[200:] = np.arange(20, dtype=np.float32)[:, None] * 40 + np.float32([100, 0, 130, 30])
    scores = generator.uniform(0.5, 1.0, (rows, classes)).astype(np.float32)
    scores[200:] = 0.0
    scores[200:, 7] = generator.uniform(0.1, 0.4, 20)
    assert (scores > 0.05).sum() > 10_000

    ours = kept(
        compiled_by_class(
            boxes, scores, np.ones(rows, bool), score_threshold=0.05, threshold=0.5, limit=100
        )
    )
    best = [scores[:200, label].argmax() * classes + label for label in range(classes)]
    best = sorted(best, key=lambda pair: -scores.reshape(-1)[pair])
    rest = [row * classes + 7 for row in 200 + np.argsort(-scores[200:, 7])]
    assert ours == best + rest


def test_images_of_a_batch_are_treated_as_if_alone():
    generator = np.random.default_rng(0)
    boxes = np.stack([plain_boxes.drawn(generator, BOXES, extent=20) for _ in range(3)])
    scores = generator.random((3, BOXES)).astype(np.float32)
    valid = np.arange(BOXES) < np.array([[BOXES], [7], [0]])
    groups = generator.integers(0, 3, (3, BOXES))

    alone = functools.partial(compiled, threshold=0.5, limit=BOXES)
    batch = jax.jit(jax.vmap(lambda b, s, v, g: alone(b, s, v, groups=g)))
    together = batch(boxes, scores, valid, groups)
    for i in range(3):
        result = alone(boxes[i], scores[i], valid[i], groups=groups[i])
        np.testing.assert_array_equal(together.indices[i], result.indices)
        np.testing.assert_array_equal(together.valid[i], result.valid)

    rows = 30
    by_class = scores[:, : rows * 4].reshape(3, rows, 4)
    alone = functools.partial(compiled_by_class, score_threshold=0.2, threshold=0.5, limit=20)
    together = jax.jit(jax.vmap(alone))(boxes[:, :rows], by_class, valid[:, :rows])
    for i in range(3):
        result = alone(boxes[i, :rows], by_class[i], valid[i, :rows])
        np.testing.assert_array_equal(together.indices[i], result.indices)
        np.testing.assert_array_equal(together.valid[i], result.valid)


def test_gradients_pass_by_suppression():
    boxes = plain_boxes.drawn(np.random.default_rng(0), 30)
    scores, valid = np.linspace(0, 1, 30, dtype=np.float32), np.arange(30) < 20
    boxes[~valid] = np.nan

    @jax.grad
    def gradient(scores):
        result = suppress(boxes * scores[:, None], scores, valid, threshold=0.5, limit=30)
        return jnp.sum(jnp.where(result.valid, scores[result.indices], 0.0))

    found = kept(compiled(boxes * scores[:, None], scores, valid, threshold=0.5, limit=30))
    np.testing.assert_array_equal(gradient(scores), np.isin(np.arange(30), found))
