import io
import json

import numpy as np
import pytest
import rich.console

from gcnet_jax.tasks.segmentation.evaluation import metrics_from_confusion
from gcnet_jax.tasks.segmentation.evaluation.evaluator import confusion_matrix


def straightforward(labels, predictions, num_classes):
    """By class: IoU, recall, precision and Dice, from sets of pixels."""
    kept = labels != 255
    rows = []
    for c in range(num_classes):
        true, said = (labels == c) & kept, (predictions == c) & kept
        both, either = (true & said).sum(), (true | said).sum()
        with np.errstate(invalid="ignore"):
            rows.append(
                [
                    both / either,
                    both / true.sum(),
                    both / said.sum(),
                    2 * both / (true.sum() + said.sum()),
                ]
            )
    return np.array(rows).T


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (4, 31, 17)).astype(np.uint8)
    predictions = np.where(rng.random(labels.shape) < 0.6, labels, rng.integers(0, 5, labels.shape))
    labels[rng.random(labels.shape) < 0.1] = 255
    return labels, predictions.astype(np.int32)


def test_metrics_are_those_of_sets_of_pixels(case):
    labels, predictions = case
    metrics = metrics_from_confusion(np.asarray(confusion_matrix(labels, predictions, 5)))
    iou, recall, precision, dice = straightforward(labels, predictions, 5)
    np.testing.assert_allclose(metrics.iou, iou, atol=1e-12)
    np.testing.assert_allclose(metrics.recall, recall, atol=1e-12)
    np.testing.assert_allclose(metrics.precision, precision, atol=1e-12)
    np.testing.assert_allclose(metrics.dice, dice, atol=1e-12)
    np.testing.assert_allclose(metrics.f_score, dice, atol=1e-12)
    kept = labels != 255
    assert metrics.accuracy == pytest.approx((labels == predictions)[kept].mean(), abs=1e-12)
    assert metrics.summary()["mIoU"] == pytest.approx(iou.mean(), abs=1e-12)


def test_a_class_that_never_occurs_is_left_out_of_the_mean_and_null_in_json():
    confusion = np.array([[8, 2, 0], [0, 10, 0], [0, 0, 0]])
    metrics = metrics_from_confusion(confusion)
    assert np.isnan(metrics.iou[2])
    assert metrics.note() == "mIoU over 2 of 3 classes"
    assert metrics.iou_by_name("abc") == {"a": 8 / 10, "b": 10 / 12}
    assert metrics_from_confusion(confusion[:2, :2]).note() == ""
    assert metrics.summary()["mIoU"] == pytest.approx((8 / 10 + 10 / 12) / 2)
    plain = metrics.to_plain(["a", "b", "c"])
    assert plain["classes"]["c"]["IoU"] is None
    assert "NaN" not in json.dumps(plain)


def shown(table):
    console = rich.console.Console(file=io.StringIO(), width=120)
    console.print(table)
    return console.file.getvalue()


def test_means_say_over_how_many_of_how_many_classes():
    # The first two classes are labelled, the first and the last are predicted.
    metrics = metrics_from_confusion(np.array([[8, 0, 2, 0], [9, 0, 0, 0], [0] * 4, [0] * 4]))
    plain = metrics.to_plain(["a", "b", "c", "d"])
    assert plain["means_over"]["mIoU"] == {"classes": 3, "of": 4}
    assert plain["means_over"]["mAcc"] == {"classes": 2, "of": 4}
    assert set(plain["means_over"]) == set(plain["summary"]) - {"aAcc"}
    (line,) = (row for row in shown(metrics.table(list("abcd"), "")).splitlines() if "over" in row)
    assert line.split("│")[2:5] == [" 3 of 4 ", " 2 of 4 ", "    2 of 4 "]


@pytest.mark.parametrize("name", ["[/road]", "[red]", "[bold]road", "a]["])
def test_names_of_classes_are_shown_as_they_are(name):
    metrics = metrics_from_confusion(np.array([[1, 0], [0, 1]]))
    assert name in shown(metrics.table([name, "sky"], name))


def test_a_set_without_any_label_has_no_metrics_and_does_not_fail():
    summary = metrics_from_confusion(np.zeros((3, 3), int)).summary()
    assert all(np.isnan(value) for value in summary.values())


def test_labels_outside_the_classes_are_not_counted():
    labels = np.array([[0, 1, 2, 254, 255]], np.uint8)
    counts = np.asarray(confusion_matrix(labels, np.zeros((1, 5), np.int32), 2))
    np.testing.assert_array_equal(counts, [[1, 0], [1, 0]])


@pytest.mark.parametrize("name", ["[/road]", "[bold]", "[red]x[/]", "a\\", ":car:", "[link=x]"])
def test_the_table_shows_the_names_of_classes_and_sets_as_they_are(name):
    console = rich.console.Console(file=io.StringIO(), width=150)
    console.print(metrics_from_confusion(np.eye(2)).table([name, "other"], f"set {name}"))
    assert f" {name} " in console.file.getvalue()
    assert f"set {name}" in console.file.getvalue()
