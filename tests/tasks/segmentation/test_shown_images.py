"""Which images of an evaluation are shown, from what the devices say of each."""

import weakref

import jax.numpy as jnp
import numpy as np
import pytest

from gcnet_jax.parallel import InputShard
from gcnet_jax.tasks.segmentation.data import DATA_SETS, decode, evaluation_batches
from gcnet_jax.tasks.segmentation.evaluation import Predicted, evaluator
from gcnet_jax.tasks.segmentation.shown_images import ImageScore, ShownImages

COUNT = 3


@pytest.fixture(scope="module")
def evaluated(narrow_config):
    """`evaluated(shard)`: images shown of predictions that are the wrong class here and there."""

    def evaluate(shard):
        config = narrow_config.copy_and_resolve_references()
        config.evaluation.batch_size = 8
        shown = ShownImages(config, "val", shard, multi_scale=False, count=COUNT)
        of_part = {"shard_index": shard.index, "shard_count": shard.count}
        on_devices = []
        for batch in evaluation_batches(config, "val", **of_part):
            of_batch = predicted(batch)
            on_devices.append(weakref.ref(of_batch.label))
            shown.look(batch, of_batch)
            assert sum(array() is not None for array in on_devices) <= 4, "memory of the devices"
            assert bytes_kept(shown) <= 2 * COUNT * 64 * 128, "memory of the host"
        return shown

    return evaluate


def bytes_kept(shown):
    kept = (value for value in vars(shown).values() if isinstance(value, dict))
    return sum(getattr(array, "nbytes", 0) for of in kept for array in of.values())


def wrong(label, index):
    """As many columns from the left are background as suit the image's place in the split."""
    prediction = label.copy()
    prediction[:, : (index * 37) % 101] = 0
    return prediction


def predicted(batch):
    labels = zip(batch["label"], batch["index"].tolist(), strict=True)
    predictions = np.stack([wrong(label, index) % 7 for label, index in labels])
    areas = []
    for label, prediction in zip(batch["label"], predictions, strict=True):
        counts = np.asarray(evaluator.confusion_matrix(label, prediction, 7))
        areas.append([np.diag(counts), counts.sum(1), counts.sum(0)])
    # Images of a batch are as large as its largest at most.
    in_larger = np.pad(predictions, ((0, 0), (0, 3), (0, 5)), constant_values=6)
    return Predicted(jnp.asarray(in_larger), jnp.asarray(np.array(areas, np.int32)))


def iou(label, prediction):
    """Mean over the classes that the label has."""
    return np.mean(
        [
            ((label == k) & (prediction == k)).sum() / ((label == k) | (prediction == k)).sum()
            for k in np.unique(label)
        ]
    )


@pytest.mark.parametrize("shard", [InputShard(0, 1), InputShard(1, 4)])
def test_the_worst_images_and_some_from_all_over_are_shown(evaluated, shapes_dir, shard):
    shown = evaluated(shard)
    records = DATA_SETS.open_split("context_shapes", shapes_dir, "val")
    labels = {records[i]["name"].decode(): decode(records[i])["label"] for i in range(100)}
    places = {name: i for i, name in enumerate(labels)}
    # All images of the set are of one size: they are split over processes one by one.
    mine = [name for name, i in places.items() if i % shard.count == shard.index]
    assert shown.available == len(mine)
    scores = {name: iou(labels[name], wrong(labels[name], places[name])) for name in mine}
    assert [image.name for image in shown.worst()] == sorted(mine, key=scores.get)[:COUNT]
    assert [image.name for image in shown.spread()] == [
        mine[i * len(mine) // COUNT] for i in range(COUNT)
    ]
    for image in (*shown.worst(), *shown.spread()):
        label, prediction = labels[image.name], wrong(labels[image.name], places[image.name])
        np.testing.assert_array_equal(image.label, label)
        np.testing.assert_array_equal(image.prediction, prediction)
        assert image.score.iou == pytest.approx(scores[image.name])
        assert image.score.accuracy == pytest.approx((label == prediction).mean())


def test_an_image_without_labels_has_no_score_and_is_none_of_the_worst():
    assert ImageScore.of(np.zeros((3, 4), np.int32)) is None
    right, labelled, found = [2**30, 0, 1], [2**31 - 1, 0, 1], [2**31 - 1, 9, 1]
    score = ImageScore.of(np.array([right, labelled, found], np.int32))
    assert score.iou == pytest.approx((1 / 3 + 1) / 2, rel=1e-6)
