import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.tasks.detection.boxes.sampling import sample

BOXES = 20
compiled = jax.jit(sample, static_argnames=("count", "positive_fraction"))


def in_a_loop(assigned, valid, random, count, positive_fraction):
    """`RandomSampler` whose random order is that of the numbers, falling."""

    def some(chosen, most):
        (indices,) = np.nonzero(chosen & valid)
        return np.sort(indices[np.argsort(-random[indices], kind="stable")][: max(most, 0)])

    positive = some(assigned > 0, int(count * positive_fraction))
    return positive, some(assigned == 0, count - len(positive))


@pytest.mark.parametrize(("count", "fraction"), [(8, 0.25), (20, 0.5), (1000, 0.5)])
@given(seed=st.integers(0, 2**32 - 1), positives=st.floats(0, 1), levels=st.sampled_from([2, 999]))
@settings(max_examples=8)
def test_the_boxes_chosen_are_those_of_the_loop(count, fraction, seed, positives, levels):
    generator = np.random.default_rng(seed)
    valid = generator.random(BOXES) < generator.random()
    assigned = np.where(generator.random(BOXES) < positives, 3, generator.integers(-1, 1, BOXES))
    random = (generator.integers(0, levels, BOXES) / levels).astype(np.float32)
    ours = compiled(assigned, valid, random, count=count, positive_fraction=fraction)
    positive, negative = in_a_loop(assigned, valid, random, count, fraction)

    number = len(positive) + len(negative)
    assert ours.indices.shape == (min(count, BOXES),)
    assert ours.indices[:number].tolist() == [*positive, *negative]
    assert not ours.indices[number:].any()
    np.testing.assert_array_equal(ours.valid, np.arange(min(count, BOXES)) < number)
    np.testing.assert_array_equal(ours.positive, np.arange(min(count, BOXES)) < len(positive))


def test_every_box_is_chosen_about_equally_often():
    draw = jax.jit(
        jax.vmap(
            lambda key: (
                sample(
                    np.arange(BOXES) < 10,
                    np.ones(BOXES, bool),
                    jax.random.uniform(key, (BOXES,)),
                    count=8,
                    positive_fraction=0.5,
                ).indices
            )
        )
    )
    counts = np.bincount(np.ravel(draw(jax.random.split(jax.random.key(0), 1000))))
    assert counts.sum() == 8000
    # 400 on average, with a standard deviation of 15.5
    assert (abs(counts - 400) < 80).all()


def test_of_no_boxes_none_are_chosen():
    ours = sample(
        np.zeros(0, int), np.zeros(0, bool), np.zeros(0, np.float32), count=4, positive_fraction=0.5
    )
    assert ours.indices.shape == ours.valid.shape == (0,)
