import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gcnet_jax.ops import cross_entropy, pixel_accuracy


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((2, 5, 4, 3)).astype(np.float32) * 4
    labels = rng.integers(0, 3, (2, 5, 4)).astype(np.uint8)
    labels[0, :2] = 255
    return logits, labels


def test_ignored_pixels_add_nothing_but_count_in_the_mean(case):
    logits, labels = case
    total = 0.0
    for position in np.ndindex(labels.shape):
        if labels[position] != 255:
            scores = logits[position].astype(np.float64)
            total += np.log(np.exp(scores).sum()) - scores[labels[position]]
    np.testing.assert_allclose(cross_entropy(logits, labels), total / labels.size, rtol=1e-6)


def test_a_batch_with_nothing_but_ignored_pixels_has_loss_zero(case):
    logits, labels = case
    assert cross_entropy(logits, np.full_like(labels, 255)) == 0


def test_huge_logits_stay_finite():
    logits = jnp.array([[[[1e4, -1e4]]]])
    assert cross_entropy(logits, jnp.array([[[0]]])) == 0
    np.testing.assert_allclose(cross_entropy(logits, jnp.array([[[1]]])), 2e4)


def test_accuracy_is_the_share_of_labelled_pixels_that_are_right(case):
    logits, labels = case
    kept = labels != 255
    expected = (logits.argmax(-1)[kept] == labels[kept]).mean()
    np.testing.assert_allclose(pixel_accuracy(logits, labels), expected, rtol=1e-6)


def test_a_label_that_is_no_class_makes_the_loss_no_number(case):
    logits, labels = case
    labels[1, 0, 0] = 3
    assert np.isnan(cross_entropy(logits, labels))


def test_the_gradient_scatters_nothing(case):
    # On a GPU a scatter writes all logits once more, and adds one by one.
    program = str(jax.make_jaxpr(jax.grad(cross_entropy))(*case))
    assert "scatter" not in program
    expected = jax.nn.softmax(case[0]) - jax.nn.one_hot(case[1], 3)
    expected = jnp.where((case[1] != 255)[..., None], expected, 0) / case[1].size
    np.testing.assert_allclose(jax.grad(cross_entropy)(*case), expected, atol=1e-7)
