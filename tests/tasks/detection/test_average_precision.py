"""Average precision where the right figure is known by other means."""

import dataclasses

import numpy as np
import pytest
from pycocotools import mask as coco_masks

from gcnet_jax.tasks.detection.data import Annotations
from gcnet_jax.tasks.detection.evaluation.average_precision import average_precision
from gcnet_jax.tasks.detection.evaluation.image_detections import ImageDetections

SIZE = (100, 120)


def rectangle(box):
    x, y, width, height = box
    pixels = np.zeros(SIZE, np.uint8, order="F")
    pixels[y : y + height, x : x + width] = 1
    return coco_masks.encode(pixels)["counts"]


def annotated(boxes, classes, *, crowds=None, areas=None):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return Annotations(
        boxes,
        np.array(classes, np.int32),
        np.zeros(len(boxes), bool) if crowds is None else np.array(crowds),
        boxes[:, 2:].prod(1) if areas is None else np.array(areas, np.float32),
        tuple(rectangle(box) for box in boxes.astype(int)),
    )


def detected(boxes, classes, scores, *, masks=True, index=0):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return ImageDetections(
        index,
        SIZE,
        np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1),
        np.array(scores, np.float32),
        np.array(classes, np.int32),
        tuple(rectangle(box) for box in boxes.astype(int)) if masks else None,
    )


A, B, C = (10, 10, 20, 30), (50, 40, 40, 40), (5, 60, 30, 35)


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_what_is_annotated_has_average_precision_1_as_a_detection(kind):
    truth = [annotated([A, B], [0, 2]), annotated([], []), annotated([C], [2])]
    found = [detected([A, B], [0, 2], [0.9, 0.3]), detected([], [], []), detected([C], [2], [0.6])]
    result = average_precision(truth, found, num_classes=3, kind=kind)
    assert result.figures["AP"] == pytest.approx(1)
    assert result.figures["AR100"] == 1
    np.testing.assert_allclose(result.by_class["AP"], [1, np.nan, 1])
    np.testing.assert_allclose(result.curve(0.5), 1)


def test_figures_without_objects_are_none_of_a_number():
    truth, found = [annotated([A], [1])], [detected([A, B], [1, 0], [0.9, 0.8])]
    result = average_precision(truth, found, num_classes=2, kind="box")
    absent = [name for name, value in result.figures.items() if np.isnan(value)]
    assert absent == ["APm", "APl", "ARm", "ARl"]  # the only object is small
    for name in ("AP", "AP50", "AP75"):
        np.testing.assert_allclose(result.by_class[name], [np.nan, 1])
    assert result.figures["AP"] == pytest.approx(1)  # of the class that is annotated alone
    nothing = average_precision([annotated([], [])], found, num_classes=2, kind="box")
    assert all(np.isnan(value) for value in nothing.figures.values())
    assert np.isnan(nothing.curve(0.5)).all()
    assert np.isnan(nothing.curve()).all()


def test_only_crowds_of_a_class_are_nothing_that_could_be_found():
    truth = [annotated([A, B], [0, 1], crowds=[True, False])]
    found = [detected([A, A, B], [0, 0, 1], [0.9, 0.8, 0.7])]
    for kind in ("box", "mask"):
        result = average_precision(truth, found, num_classes=2, kind=kind)
        np.testing.assert_allclose(result.by_class["AP"], [np.nan, 1])


def test_detections_in_a_crowd_are_no_mistakes():
    truth = [annotated([A, B], [0, 0], crowds=[False, True])]
    inside = (55, 45, 10, 10)
    for boxes, expected in (([inside, inside, A], 1), ([(100, 1, 9, 9), A], 0.5)):
        scores = np.linspace(0.9, 0.5, len(boxes))
        found = [detected(boxes, [0] * len(boxes), scores)]
        result = average_precision(truth, found, num_classes=1, kind="box")
        assert result.figures["AP50"] == pytest.approx(expected)


def test_a_curve_is_the_best_precision_at_each_recall_or_beyond():
    truth = [annotated([A, B, C], [0, 0, 0])]
    wrong = (90, 2, 20, 20)
    found = [detected([A, wrong, B, wrong], [0] * 4, [0.9, 0.8, 0.7, 0.6])]
    result = average_precision(truth, found, num_classes=1, kind="mask")
    curve = result.curve(0.5)
    thirds = result.recalls <= 1 / 3, result.recalls <= 2 / 3
    np.testing.assert_allclose(curve[thirds[0]], 1)
    np.testing.assert_allclose(curve[~thirds[0] & thirds[1]], 2 / 3)
    np.testing.assert_allclose(curve[~thirds[1]], 0)
    assert result.figures["AP50"] == pytest.approx(curve.mean())


def test_areas_are_those_of_masks_where_masks_are_compared():
    """A box of a medium area whose annotated mask is small."""
    box = (10, 10, 40, 40)
    truth = annotated([box], [0], areas=[400])
    found = detected([box], [0], [0.9])
    small = rectangle((20, 20, 20, 20))
    truth, found = truth._replace(masks=(small,)), dataclasses.replace(found, masks=(small,))
    other = detected([(60, 60, 40, 38)], [0], [0.95])
    both = dataclasses.replace(
        other,
        boxes=np.concatenate([other.boxes, found.boxes]),
        scores=np.concatenate([other.scores, found.scores]),
        classes=np.zeros(2, np.int32),
        masks=(rectangle((60, 60, 20, 20)), small),
    )
    of = {
        kind: average_precision([truth], [both], num_classes=1, kind=kind).figures
        for kind in ("box", "mask")
    }
    # The wrong one's box has a medium area and counts not among small ones; its mask is small.
    assert of["box"]["APs"] == pytest.approx(1)
    assert of["mask"]["APs"] == pytest.approx(0.5)


def test_nothing_detected_is_precision_0():
    result = average_precision(
        [annotated([A], [0])], [detected([], [], [])], num_classes=1, kind="mask"
    )
    assert result.figures["AP"] == 0


def test_images_without_masks_cannot_be_compared_by_masks():
    with pytest.raises(ValueError, match="image 0 has boxes alone"):
        average_precision(
            [annotated([A], [0])],
            [detected([A], [0], [1], masks=False)],
            num_classes=1,
            kind="mask",
        )


def test_an_image_may_have_hundreds_of_objects_and_detections():
    boxes = [(x, y, 3, 3) for x in range(0, 116, 5) for y in range(0, 96, 5)]
    scores = np.linspace(1, 0.1, len(boxes))
    truth, found = annotated(boxes, [0] * len(boxes)), detected(boxes, [0] * len(boxes), scores)
    result = average_precision([truth], [found], num_classes=1, kind="mask")
    assert len(boxes) > 400
    assert result.figures["AP50"] == result.figures["AR1000"] == pytest.approx(1)
    np.testing.assert_allclose(result.figures["AR100"], 100 / len(boxes))
