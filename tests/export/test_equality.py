"""What counts as the same result, and what does not."""

import io

import numpy as np
import pytest
from rich.console import Console

from gcnet_jax.errors import InputError
from gcnet_jax.export.equality import (
    TOLERANCES,
    Agreement,
    NamedImage,
    agreement_report,
    agreement_table,
    check_agreement,
    compare,
)
from gcnet_jax.task import ArrayShapes, compare_probabilities
from gcnet_jax.tasks import task_of
from tests.export.conftest import narrow_config

SIZE = (32, 32)


class Says:
    """A program that says the same of each image, and keeps what it was shown."""

    def __init__(self, measure=None, shapes=None, **results):
        self.shapes, self.measure = shapes or ArrayShapes(only=[SIZE]), measure
        self._results, self.shown = results, []

    def __call__(self, images, sizes=None):
        self.shown.append((images, sizes))
        return {name: np.stack([x] * len(images)) for name, x in self._results.items()}


def checked(task, root, right, mine, dtype="float32", name=None):
    """Compares one image's results as files of the task are compared; returns the report."""
    config = narrow_config(task, root)
    if task == "detection":
        config.model.test.score_threshold = 0.05
    programs = task_of(config).export.programs(None, config)
    name = name or next(iter(programs))
    images = [NamedImage("photo", np.zeros((*SIZE, 3), np.uint8))]
    tolerance = TOLERANCES[dtype]
    model = {name: Says(programs[name].measure, **right)}
    agreements = compare(images, model, {name: Says(**mine)}, tolerance, print)
    check_agreement(agreements, tolerance)
    assert agreement_table(agreements).row_count
    return agreement_report(agreements, tolerance, model)


OBJECTS = {
    "boxes": np.float32([[1200, 20, 1240, 60], [100, 100, 180, 200], [5, 5, 30, 30], [0] * 4]),
    "scores": np.float32([0.9, 0.9, 0.6, 0]),
    "classes": np.int32([2, 1, 0, 0]),
    "valid": np.array([True, True, True, False]),
    "masks": np.float32([np.full((2, 2), x) for x in (0.2, 0.4, 0.6, 0)]),
}


def other_objects(change):
    found = {name: x.copy() for name, x in OBJECTS.items()}
    change(found)
    return found


def moved(by):
    def change(found):
        found["boxes"][0, [0, 2]] += by

    return change


def without_the_last(found):
    for x in found.values():
        x[2] = 0


def of_another_class(found):
    found["classes"][1] = 0


def of_another_score(found):
    found["scores"][2] = 0.5


def with_another_mask(found):
    found["masks"][1, 0, 0] = 0.9


def of_no_number(found):
    found["boxes"][0] = np.nan


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (moved(60), "exported objects .* are others"),
        (moved(3), r"exported boxes of photo .* deviate by 3 pixels \(at most"),
        (without_the_last, "exported objects"),
        (of_another_class, "exported objects"),
        (of_another_score, "exported scores"),
        (with_another_mask, "exported masks"),
        (of_no_number, "exported objects"),
    ],
)
def test_objects_that_moved_or_are_others_are_no_agreement(root, change, message, dtype):
    with pytest.raises(InputError, match=message):
        checked("detection", root, OBJECTS, other_objects(change), dtype)


def test_objects_of_one_score_in_another_order_are_the_same(root):
    swapped = {name: x[[1, 0, 2, 3]] for name, x in OBJECTS.items()}
    report = checked("detection", root, OBJECTS, swapped)
    assert {one["result"]: one["equal"] or one["deviation"] for one in report["worst"]} == {
        "objects": 1.0, "boxes": 0.0, "scores": 0.0, "masks": 0.0,
    }  # fmt: skip


def test_an_object_that_rounding_leaves_out_at_the_lowest_score_is_no_other(root):
    def almost_too_low(found):
        found["scores"][2] = 0.0501

    barely = other_objects(almost_too_low)
    found = other_objects(without_the_last)
    assert checked("detection", root, barely, found)["agree"]
    assert checked("detection", root, found, barely)["agree"]
    none = {name: np.zeros_like(x) for name, x in OBJECTS.items()}
    assert checked("detection", root, none, none)["agree"]


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_another_likeliest_class_is_no_agreement_however_small_the_probabilities(root, dtype):
    right = np.full(100, 0.9 / 98, np.float32)
    right[3], right[5] = 0.06, 0.04
    mine = right.copy()
    mine[3], mine[5] = 0.04, 0.06
    if dtype == "bfloat16":  # a deviation of 0.02 alone would agree
        assert abs(right - mine).max() < TOLERANCES[dtype].deviation
    with pytest.raises(InputError, match=r"probabilities .*100\.00% are others"):
        checked("classification", root, {"probabilities": right}, {"probabilities": mine}, dtype)
    right[3], mine[3], right[5], mine[5] = 0.05, 0.05, 0.05001, 0.04999
    report = checked("classification", root, {"probabilities": right}, {"probabilities": mine})
    assert report["images"][0]["equal"] == 1


@pytest.mark.parametrize("name", ["classes", "probabilities", "logits"])
def test_classes_of_pixels_are_counted_in_every_result_of_a_segmentor(root, name):
    classes = np.zeros(SIZE, np.uint8)
    others = classes.copy()
    others[:4] = 1
    if name != "classes":
        scores = [np.eye(2, dtype=np.float32)[x] for x in (classes, others)]
        classes, others = (0.5 + 0.0008 * (x - 0.5) for x in scores)
        if name == "logits":
            classes, others = 50 + 100 * classes, 50 + 100 * others
    with pytest.raises(InputError, match=rf"exported {name} .*12\.50% are others"):
        checked("segmentation", root, {name: classes}, {name: others}, name=name)


def test_the_report_says_through_which_arrays_no_image_went_and_the_table_fits_80_columns():
    shapes = ArrayShapes(only=[(32, 32), (32, 64), (64, 32)])
    program = Says(compare_all, shapes, probabilities=np.zeros(3, np.float32))
    images = [NamedImage(str(x), np.zeros((*x, 3), np.uint8)) for x in [(20, 20), (32, 40)]]
    tolerance, model = TOLERANCES["float32"], {"of_objects": program}
    agreements = compare(images, model, model, tolerance, print)
    assert [one.array for one in agreements] == [(32, 32), (32, 64)]
    report = agreement_report(agreements, tolerance, model)
    assert report["not_compared"] == {"of_objects": [[64, 32]]}
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(agreement_table(agreements))
    text = console.file.getvalue()
    assert "…" not in text
    (row,) = [line.split() for line in text.splitlines() if "probabilities" in line]
    assert [x for x in row if x != "│"] == ["probabilities", "2", "2", "2", "0.0e+00", "100.000%"]
    open_sizes = {"classes": Says(shapes=ArrayShapes(multiple=32))}
    assert agreement_report(agreements, tolerance, open_sizes)["not_compared"] == {}


def test_the_table_has_the_largest_deviation_and_the_fewest_equal_of_each_result():
    agreements = [
        Agreement(str(i), "objects", (32, 32), "boxes", 2, deviation, "pixels", equal, True)
        for i, (deviation, equal) in enumerate([(0.01, 1.0), (0.05, 0.9995), (0.02, 0.9999)])
    ]
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(agreement_table(agreements))
    (row,) = [line.split() for line in console.file.getvalue().splitlines() if "boxes" in line]
    expected = ["boxes", "3", "1", "2", "5.0e-02", "pixels", "99.950%"]
    assert [x for x in row if x != "│"] == expected


def test_results_of_other_shapes_are_refused():
    right = Says(compare_all, probabilities=np.zeros(3, np.float32))
    other = Says(compare_all, probabilities=np.zeros(4, np.float32))
    images = [NamedImage("photo", np.zeros((*SIZE, 3), np.uint8))]
    with pytest.raises(
        InputError, match=r"probabilities have the shape \(2, 4\); the model's \(2, 3\)"
    ):
        compare(images, {"a": right}, {"a": other}, TOLERANCES["float32"], print)


def compare_all(right, mine, size, tolerance):
    del size
    name = "probabilities"
    return [compare_probabilities(name, right[name], mine[name], tolerance)]


def test_images_are_taken_two_at_a_time_and_one_alone_goes_beside_itself():
    taken, shapes = [], ArrayShapes(multiple=32)
    program = Says(lambda *_: [], shapes, x=np.zeros(1))

    def images():
        for index, size in enumerate([(30, 30), (32, 20), (32, 32), (40, 8), (64, 1)]):
            taken.append(len(program.shown))
            yield NamedImage(str(index), np.full((*size, 3), index + 1, np.uint8))

    with pytest.raises(InputError, match="there are no images"):  # of which anything was said
        compare(images(), {"a": program}, {"a": program}, TOLERANCES["float32"], print)
    assert taken == [0, 0, 2, 2, 4]
    of_model = program.shown[::2]
    assert [x.shape for x, _ in of_model] == [(2, 32, 32, 3), (2, 32, 32, 3), (2, 64, 32, 3)]
    assert [x[:, 0, 0, 0].tolist() for x, _ in of_model] == [[1, 2], [3, 3], [4, 5]]
    assert [sizes.tolist() for _, sizes in of_model] == [
        [[30, 30], [32, 20]], [[32, 32], [32, 32]], [[40, 8], [64, 1]],
    ]  # fmt: skip
    assert not of_model[0][0][0, 30:].any()
