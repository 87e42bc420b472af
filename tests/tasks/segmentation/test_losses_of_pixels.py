"""The losses against PyTorch formulas of mmsegmentation 1.2.2, against NumPy, and over devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gcnet_jax.data import DataSets
from gcnet_jax.errors import InputError
from gcnet_jax.ops import cross_entropy
from gcnet_jax.parallel import batch_sharding, create_mesh
from gcnet_jax.tasks.segmentation.config import default_config
from gcnet_jax.tasks.segmentation.data import LabelCounts
from gcnet_jax.tasks.segmentation.loss import head_losses
from gcnet_jax.tasks.segmentation.losses import (
    PixelLoss,
    dice_loss,
    focal_loss,
    weighted_cross_entropy,
    weights_from_counts,
)
from gcnet_jax.tasks.segmentation.segmentor import HeadLogits
from gcnet_jax.tasks.segmentation.task import TASK as segmentation

WEIGHTS = (0.5, 3.0, 1.25)


def random_case(images=4, *, ignored=True):
    rng = np.random.default_rng(0)
    logits = 3 * rng.standard_normal((images, 8, 6, 3)).astype(np.float32)
    labels = rng.integers(0, 3, (images, 8, 6)).astype(np.uint8)
    if ignored:
        labels[0, :2] = labels[1] = 255
    return logits, labels


def with_gradient(loss, logits, labels):
    value, gradient = jax.jit(jax.value_and_grad(loss))(logits, labels)
    return float(value), np.asarray(gradient)


def options(**values):
    """The section `loss` with some values in their place."""
    config = default_config()
    config.update_from_flattened_dict({f"loss.{key}": value for key, value in values.items()})
    return config.loss


def pixel_loss(**values):
    return PixelLoss.from_config(options(**values))


# Against PyTorch ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def assert_same_as_torch(torch, ours, theirs, logits, labels):
    """The value, and the gradient of the logits; `theirs` has channels first, as PyTorch has."""
    tensor = torch.tensor(logits).permute(0, 3, 1, 2).contiguous().requires_grad_()
    expected = theirs(tensor, torch.tensor(labels).long())
    expected.backward()
    value, gradient = with_gradient(ours, logits, labels)
    np.testing.assert_allclose(value, expected.item(), rtol=1e-5)
    np.testing.assert_allclose(
        gradient, tensor.grad.permute(0, 2, 3, 1).numpy(), rtol=1e-4, atol=1e-7
    )


@pytest.mark.parametrize("avg_non_ignore", [False, True])
def test_cross_entropy_over_all_or_over_labelled_pixels_is_torchs(torch, avg_non_ignore):
    def theirs(logits, labels):
        reduction = "mean" if avg_non_ignore else "sum"
        loss = torch.nn.functional.cross_entropy(
            logits, labels, ignore_index=255, reduction=reduction
        )
        return loss if avg_non_ignore else loss / labels.numel()

    ours = pixel_loss(avg_non_ignore=avg_non_ignore)
    assert_same_as_torch(torch, ours, theirs, *random_case())


@pytest.mark.parametrize("ignored", [False, True])
def test_class_weights_make_a_weighted_mean_as_torchs(torch, ignored):
    def theirs(logits, labels):
        return torch.nn.functional.cross_entropy(
            logits, labels, weight=torch.tensor(WEIGHTS), ignore_index=255
        )

    ours = pixel_loss(class_weights=WEIGHTS, avg_non_ignore=ignored)
    assert_same_as_torch(torch, ours, theirs, *random_case(ignored=ignored))


def keep_hard_by_probability(torch, logits, labels, min_kept, threshold):
    """One by one, from the hardest: below the threshold, or among the first `min_kept` an image."""
    probability = torch.softmax(logits, 1)
    mask, found = torch.zeros(labels.shape), []
    for n, y, x in zip(*torch.where(labels != 255), strict=True):
        found.append((probability[n, labels[n, y, x], y, x].item(), (n, y, x)))
    found.sort(key=lambda pair: pair[0])
    last = found[min(min_kept * len(labels), len(found) - 1)][0]
    for value, place in found:
        mask[place] = float(value < max(threshold, last))
    return mask


@pytest.mark.parametrize(
    ("min_kept", "threshold"),
    [(2, 0.7), (30, 0.1), (10_000, 0.3)],
    ids=["all below the threshold", "the threshold rises", "more than there are"],
)
def test_pixels_below_a_threshold_are_those_of_a_ranking(torch, min_kept, threshold):
    def theirs(logits, labels):
        mask = keep_hard_by_probability(torch, logits.detach(), labels, min_kept, threshold)
        assert 0 < mask.sum() < (labels != 255).sum()
        losses = torch.nn.functional.cross_entropy(
            logits, labels, ignore_index=255, reduction="none"
        )
        return (losses * mask).mean()

    ours = pixel_loss(**{"hard_pixels.min_kept": min_kept, "hard_pixels.threshold": threshold})
    assert_same_as_torch(torch, ours, theirs, *random_case())


@pytest.mark.parametrize("min_kept", [5, 10_000])
def test_without_a_threshold_the_greatest_weighted_losses_are_kept(torch, min_kept):
    def theirs(logits, labels):
        losses = torch.nn.functional.cross_entropy(
            logits, labels, weight=torch.tensor(WEIGHTS), ignore_index=255, reduction="none"
        )
        labelled = labels != 255
        kept = losses[labelled].sort(descending=True).values[: min_kept * len(labels)]
        return kept.sum() / torch.tensor(WEIGHTS)[labels[labelled]].sum()

    ours = pixel_loss(
        class_weights=WEIGHTS,
        avg_non_ignore=True,
        **{"hard_pixels.min_kept": min_kept, "hard_pixels.threshold": 0.0},
    )
    assert_same_as_torch(torch, ours, theirs, *random_case())


@pytest.mark.parametrize("naive", [False, True])
@pytest.mark.parametrize("use_sigmoid", [False, True])
def test_dice_is_that_of_each_image_over_all_its_classes(torch, use_sigmoid, naive):
    def theirs(logits, labels):
        losses = []
        for scores, label in zip(logits, labels, strict=True):
            p = torch.sigmoid(scores) if use_sigmoid else torch.softmax(scores, 0)
            t = torch.stack([label == c for c in range(3)]).float()
            if naive:
                dice = (2 * (p * t).sum() + 0.5) / (p.sum() + t.sum() + 0.5)
            else:
                dice = 2 * (p * t).sum() / ((p * p).sum() + 0.5 + (t * t).sum() + 0.5)
            losses.append(1 - dice)
        return 3 * sum(losses) / len(losses)

    ours = pixel_loss(
        cross_entropy_weight=0.0,
        **{
            "dice.weight": 3.0,
            "dice.use_sigmoid": use_sigmoid,
            "dice.naive": naive,
            "dice.epsilon": 0.5,
        },
    )
    assert_same_as_torch(torch, ours, theirs, *random_case())


@pytest.mark.parametrize("weights", [(), WEIGHTS])
@pytest.mark.parametrize("gamma", [2.0, 0.5])
def test_focal_is_binary_for_each_class_and_a_mean_over_all(torch, gamma, weights):
    def theirs(logits, labels):
        total = 0
        for c in range(3):
            z, t = logits[:, c], (labels == c).float()
            p = torch.sigmoid(z) * t + torch.sigmoid(-z) * (1 - t)
            a = 0.25 * t + 0.75 * (1 - t)
            term = a * (1 - p) ** gamma * -torch.log(p) * (weights[c] if weights else 1)
            total = total + term[labels != 255].sum()
        return total / logits.numel()

    ours = pixel_loss(
        cross_entropy_weight=0.0,
        class_weights=weights,
        **{"focal.weight": 1.0, "focal.gamma": gamma, "focal.alpha": 0.25},
    )
    assert_same_as_torch(torch, ours, theirs, *random_case())


# By themselves -----------------------------------------------------------------------------------

EVERYTHING = {
    "class_weights": WEIGHTS,
    "avg_non_ignore": True,
    "hard_pixels.min_kept": 5,
    "dice.weight": 2.0,
    "focal.weight": 1.5,
}


def test_by_default_it_is_the_published_runs_loss_to_the_bit():
    case = random_case()
    for ours, theirs in zip(
        with_gradient(pixel_loss(), *case), with_gradient(cross_entropy, *case), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_of_one_are_no_weights():
    logits, labels = random_case()
    value = weighted_cross_entropy(logits, labels, class_weights=(1.0, 1.0, 1.0))
    np.testing.assert_allclose(value, cross_entropy(logits, labels), rtol=1e-6)


def test_the_losses_are_summed_by_their_weights():
    case = random_case()
    parts = (
        0.5 * weighted_cross_entropy(*case, class_weights=WEIGHTS)
        + 2.0 * dice_loss(*case)
        + 1.5 * focal_loss(*case, class_weights=WEIGHTS)
    )
    loss = pixel_loss(
        cross_entropy_weight=0.5,
        class_weights=WEIGHTS,
        **{"dice.weight": 2.0, "focal.weight": 1.5},
    )
    np.testing.assert_allclose(loss(*case), parts, rtol=1e-6)


@pytest.mark.parametrize("threshold", [0.0, 0.7])
def test_where_nothing_is_labelled_the_loss_is_finite_and_without_gradient_but_dices(threshold):
    logits, labels = random_case()
    labels[:] = 255
    for dice in (0.0, 2.0):
        loss = pixel_loss(**EVERYTHING | {"dice.weight": dice, "hard_pixels.threshold": threshold})
        value, gradient = with_gradient(loss, logits, labels)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
        if not dice:
            assert value == 0
            assert not gradient.any()


def test_huge_logits_have_finite_gradients():
    logits, labels = random_case()
    for loss in (pixel_loss(**EVERYTHING), pixel_loss(**EVERYTHING | {"focal.gamma": 0.5})):
        value, gradient = with_gradient(loss, 1e4 * logits, labels)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("loss", [weighted_cross_entropy, dice_loss, focal_loss])
def test_a_label_that_is_no_class_makes_the_loss_no_number(loss):
    logits, labels = random_case()
    labels[2, 0, 0] = 3
    assert np.isnan(loss(logits, labels))


def test_no_gradient_scatters():
    program = str(jax.make_jaxpr(jax.grad(pixel_loss(**EVERYTHING)))(*random_case()))
    assert "scatter" not in program


def test_weights_from_counts_are_those_of_enet_with_the_mean_one():
    pixels = (900, 100, 0)
    expected = 1 / np.log(1.02 + np.array([0.9, 0.1, 0.0]))
    expected = expected / (0.9 * expected[0] + 0.1 * expected[1])
    np.testing.assert_allclose(weights_from_counts(pixels), expected, rtol=1e-9)


def test_the_counts_are_those_of_the_training_split(monkeypatch):
    asked = []

    def counts(self, *place):
        asked.append(place)
        return LabelCounts(2, (60, 30, 10), (2, 2, 1), 5)

    monkeypatch.setattr(DataSets, "counts", counts)
    config = default_config()
    config.data.name, config.data.train_split = "shapes", "train_small"
    config.loss.class_weights_from_counts = True
    assert segmentation.loss(config)
    assert asked == [("shapes", "data", "train_small")]
    monkeypatch.setattr(DataSets, "counts", lambda self, *place: None)
    with pytest.raises(InputError, match="needs the label counts of 'shapes'"):
        segmentation.loss(config)


def test_more_or_fewer_weights_than_classes_are_named():
    with pytest.raises(InputError, match="class_weights has 2 numbers; expected 3, one for each"):
        pixel_loss(class_weights=(1.0, 2.0))(*random_case())


def test_both_heads_have_the_configs_loss():
    decode, labels = random_case()
    loss = pixel_loss(**EVERYTHING)
    heads = HeadLogits(jnp.asarray(decode), jnp.asarray(decode[::-1]))
    total, metrics = head_losses(heads, labels, auxiliary_weight=0.4, of_pixels=loss)
    np.testing.assert_allclose(metrics["auxiliary_loss"], loss(decode[::-1], labels), rtol=1e-6)
    np.testing.assert_allclose(
        total, loss(decode, labels) + 0.4 * loss(decode[::-1], labels), rtol=1e-6
    )


# Over devices ------------------------------------------------------------------------------------


@functools.cache
def on_devices(devices, spatial, threshold):
    """Value and gradient of everything together, of a batch whose images differ in hardness."""
    logits, labels = random_case(images=8)
    logits *= np.arange(1, 9, dtype=np.float32).reshape(-1, 1, 1, 1) / 4
    mesh = create_mesh(jax.devices()[:devices], spatial=spatial)
    case = jax.device_put((logits, labels), batch_sharding(mesh, of_images=True))
    loss = pixel_loss(**EVERYTHING | {"hard_pixels.threshold": threshold})
    return with_gradient(loss, *case)


@pytest.mark.parametrize("threshold", [0.0, 0.7])
@pytest.mark.parametrize("spatial", [1, 4])
def test_ranks_and_sums_over_eight_devices_are_those_of_one(spatial, threshold):
    value, gradient = on_devices(8, spatial, threshold)
    expected, expected_gradient = on_devices(1, 1, threshold)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=1e-8)
