"""What is stored of annotated images, read back and counted."""

import json

import numpy as np
import pytest
from etils import epath
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.data import Contents, preparation
from gcnet_jax.data.contents import ShardContents
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.detection.data import (
    DATA_SETS,
    AnnotatedImages,
    ObjectCounts,
    annotations_of,
    counts_of,
    decode,
    pixels_of,
    trainable,
)
from tests.tasks.detection.data.annotated import (
    CLASSES,
    MadeUp,
    annotations_of_boxes,
    prepare_made_up,
)


def some_images(has_masks=True):
    boxes = {
        5: ([], [], []),
        900_000_000_000: ([(1, 2, 5, 6)], [2], [0]),
        7: ([(0, 0, 3, 3), (2, 1, 4, 4), (4, 4, 9, 2)], [0, 2, 1], [0, 1, 0]),
    }
    return [
        MadeUp(
            f"{image_id}.png",
            image_id,
            (9 + i, 14),
            annotations_of_boxes(of_image, (9 + i, 14), classes, crowds, masks=has_masks),
        )
        for i, (image_id, (of_image, classes, crowds)) in enumerate(boxes.items())
    ]


@pytest.mark.parametrize("has_masks", [True, False])
def test_annotated_images_come_back_as_they_were_stored(tmp_path, monkeypatch, has_masks):
    monkeypatch.setattr(preparation, "SHARD_BYTES", 700)  # more than one file
    examples = some_images(has_masks)
    folder = prepare_made_up("few", tmp_path, {"train": examples}, has_masks=has_masks)
    records = DATA_SETS.open_split("few", tmp_path, "train")
    for example, record in zip(examples, records, strict=True):
        assert int(record["image_id"]) == example.image_id
        assert record["name"].decode() == example.name
        sample = decode(record)
        np.testing.assert_array_equal(sample["image"], example.load().image)
        for found in (sample["annotations"], annotations_of(record)):
            for field, value in example.annotations._asdict().items():
                if field == "masks":
                    assert found.masks == value
                else:
                    np.testing.assert_array_equal(getattr(found, field), value)
                    assert getattr(found, field).dtype == value.dtype
    counts = DATA_SETS.counts("few", tmp_path, "train")
    assert counts.trainable.tolist() == [0, 1, 2]
    assert counts.annotated.tolist() == [0, 1, 3]
    assert (counts.most, counts.total, counts.crowds) == (2, 3, 1)
    assert counts.objects == {0: 1, 1: 1, 2: 1}
    contents = DATA_SETS.contents("few", tmp_path)
    assert contents.record_format == AnnotatedImages("as_found", CLASSES, has_masks)
    assert DATA_SETS.meaning("few", tmp_path).category_ids == (3, 7, 1)
    described = json.loads((folder / "contents.json").read_text())
    assert described["objects"]["train"] == {"cat": 1, "dog": 1, "cow": 1}
    assert described["most objects in an image"] == {"train": 2}
    assert (folder / "samples.png").read_bytes().startswith(b"\x89PNG")


def test_objects_are_trained_on_as_mmdetection_has_it():
    boxes = [
        (1, 1, 4, 4),  # an object
        (1, 1, 4, 4),  # a crowd
        (1, 1, 4, 4),  # its area is 0
        (1, 1, 0.9, 4),  # narrower than a pixel
        (-3, 1, 3, 4),  # touches the image, and shares no area with it
        (10, 1, 3, 4),  # beyond its right edge
        (9.5, 7.5, 8, 8),  # reaches into it
        (1, 8, 2, 2),  # below it
    ]
    crowds = [0, 1, 0, 0, 0, 0, 0, 0]
    areas = [16, 16, 0, 3.6, 12, 12, 1, 4]
    annotations = annotations_of_boxes(boxes, (8, 10), crowds=crowds, areas=areas)
    used = trainable(annotations, (8, 10))
    assert used.tolist() == [True, False, False, False, False, False, True, False]
    counts = ObjectCounts.of(annotations, (8, 10))
    assert (counts.most, counts.crowds, counts.objects) == (2, 1, {0: 2})
    assert counts.left_out == {
        "without area": 1,
        "narrower than a pixel": 1,
        "outside the image": 3,
    }


of_images = st.lists(
    st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=4), min_size=1, max_size=40
)


@given(of_images, st.integers(0, 40))
@settings(max_examples=50, deadline=None)
def test_counts_add_up_in_order_however_they_are_grouped(images, cut):
    def count(some):
        total = ObjectCounts({})
        for objects in some:
            boxes = [(0, 0, 2, 2)] * len(objects)
            classes, crowds = zip(*objects, strict=True) if objects else ((), ())
            total += ObjectCounts.of(annotations_of_boxes(boxes, (4, 4), classes, crowds), (4, 4))
        return total

    whole = count(images)
    assert whole == count(images[:cut]) + count(images[cut:])
    assert whole.annotated.tolist() == [len(objects) for objects in images]
    assert whole.trainable.tolist() == [sum(not c for _, c in objects) for objects in images]
    assert ObjectCounts.from_plain(json.loads(json.dumps(whole.to_plain())), 3) == whole


def test_counts_of_a_split_are_in_the_order_of_its_files_however_a_table_lists_them():
    record_format = AnnotatedImages("as_found", CLASSES, True)
    shards = {}
    for index in (1, 0):
        boxes = annotations_of_boxes([(0, 0, 2, 2)] * (index + 1), (4, 4))
        sizes, identities = np.full((1, 2), 4, np.int32), np.zeros(1, np.uint32)
        shards[index] = ShardContents("", sizes, identities, ObjectCounts.of(boxes, (4, 4)))
    contents = Contents(record_format, {"train": shards})
    assert contents.counts("train").trainable.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("objects", {"3": 1}),
        ("objects", {"0": 0.5}),
        ("trainable", [1, 2]),
        ("trainable", [-1]),
        ("annotated", ["a"]),
        ("left_out", 3),
        ("crowds", None),
    ],
)
def test_counts_that_are_none_are_refused(entry, value):
    plain = ObjectCounts.of(annotations_of_boxes([(0, 0, 2, 2)], (4, 4)), (4, 4)).to_plain()
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError, OverflowError)):
        ObjectCounts.from_plain({**plain, entry: value}, 3)


@given(
    st.integers(1, 12).flatmap(
        lambda height: st.integers(1, 12).flatmap(
            lambda width: st.lists(
                st.lists(st.booleans(), min_size=height * width, max_size=height * width).map(
                    lambda pixels: np.array(pixels).reshape(height, width)
                ),
                min_size=1,
                max_size=3,
            )
        )
    )
)
@settings(max_examples=50, deadline=None)
@pytest.mark.filterwarnings("error::DeprecationWarning")  # of pycocotools under NumPy 2
def test_masks_survive_as_run_lengths(masks):
    found = pixels_of([counts_of(mask) for mask in masks], masks[0].shape)
    np.testing.assert_array_equal(found, np.stack(masks))


def test_annotations_that_do_not_belong_together_are_refused(tmp_path):
    prepare_made_up("few", tmp_path, {"train": some_images()})
    record = DATA_SETS.open_split("few", tmp_path, "train")[2]
    record["masks"] = record["masks"][:-1]
    with pytest.raises(InputError, match=r"annotations of record '7.png' are damaged"):
        decode(record)


def test_a_split_without_objects_is_refused_where_it_is_used(tmp_path):
    annotations = annotations_of_boxes([(0, 0, 3, 3)], (9, 9), crowds=[1])
    only_crowds = [MadeUp("a.png", 1, (9, 9), annotations)]
    prepare_made_up("crowd", epath.Path(tmp_path), {"train": only_crowds})
    with pytest.raises(InputError, match="split 'train' of 'crowd' has no object but crowds"):
        DATA_SETS.check_split("crowd", tmp_path, "train")
