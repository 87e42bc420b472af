"""What detectors and data sets call classes of objects."""

import json

import pytest

from gcnet_jax.errors import InputError
from gcnet_jax.tasks.detection.classes import ObjectClasses, known_classes


def test_ids_of_categories_go_with_the_classes_into_metadata():
    classes = ObjectClasses(("cat", "dog"), category_ids=(17, 3))
    metadata = json.loads(json.dumps(classes.to_metadata()))
    assert ObjectClasses.from_metadata(metadata) == classes
    assert classes.means_same(ObjectClasses(("cat", "dog")))
    assert ObjectClasses.from_metadata({"classes": {"names": ["cat"]}}).category_ids is None


@pytest.mark.parametrize("ids", [[1], ["1", "2"], [True, False], [1.0, 2.0], "12"])
def test_ids_that_are_none_are_refused(ids):
    with pytest.raises((TypeError, InputError)):
        ObjectClasses.from_plain({"names": ["cat", "dog"], "category_ids": ids})


def test_classes_of_coco_have_its_ids():
    classes = known_classes("coco")
    by_id = dict(zip(classes.category_ids or (), classes.names, strict=True))
    assert len(by_id) == 80
    assert (by_id[1], by_id[13], by_id[44], by_id[67]) == (
        "person",
        "stop sign",
        "bottle",
        "dining table",
    )
    assert (by_id[70], by_id[72], by_id[82], by_id[90]) == (
        "toilet",
        "tv",
        "refrigerator",
        "toothbrush",
    )
