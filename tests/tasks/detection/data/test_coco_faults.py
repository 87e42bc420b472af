"""What is wrong with a json in COCO's format, found and listed before anything is written."""

import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gcnet_jax.data import image_files
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.detection.data import prepare_coco_json
from gcnet_jax.tasks.detection.data.sources.faults import AnnotationFaults
from tests.tasks.detection.data.coco_written import (
    CATEGORIES,
    SIZE,
    TRIANGLE,
    annotation,
    document,
    image,
    prepare_written,
    write,
)

NAN, INFINITY = math.nan, math.inf
LENGTHS = {"size": [*SIZE], "counts": [100, 20, 480]}

# What is changed in an annotation, and what the list says of it.
OF_ANNOTATIONS = {
    "box of three": ({"bbox": [1, 2, 3]}, "bbox [1, 2, 3], expected 4 numbers"),
    "box of text": ({"bbox": ["1", 2, 3, 4]}, "expected 4 numbers: x, y, width and height"),
    "no box": ({"bbox": None}, "bbox None, expected 4 numbers"),
    "box with NaN": ({"bbox": [NAN, 2, 3, 4]}, "bbox [nan, 2, 3, 4], expected 4 numbers"),
    "infinite box": ({"bbox": [1, 2, INFINITY, 4]}, "expected 4 numbers"),
    "negative width": ({"bbox": [1, 2, -3, 4]}, "expected a width and a height of 0 or more"),
    "huge box": ({"bbox": [1, 2, 3, 1e300]}, "expected numbers up to 10,000,000"),
    "area with NaN": ({"area": NAN}, "area nan, expected a number of pixels, 0 or more"),
    "negative area": ({"area": -1}, "area -1, expected a number of pixels, 0 or more"),
    "area of truth": ({"area": True}, "area True, expected a number of pixels"),
    "category": ({"category_id": 1}, "category_id 1, expected one of [3, 7]"),
    "no category": ({"category_id": None}, "category_id None, expected one of [3, 7]"),
    "category in a list": ({"category_id": [7]}, "category_id [7], expected one of [3, 7]"),
    "image": ({"image_id": 3}, "image_id 3, expected the id of one of 'images'"),
    "image as text": ({"image_id": "1"}, "image_id '1', expected the id of one of 'images'"),
    "crowd": ({"iscrowd": 2}, "iscrowd 2, expected 0 or 1"),
    "crowd with NaN": ({"iscrowd": NAN}, "iscrowd nan, expected 0 or 1"),
    "ignored": ({"ignore": 1}, "ignore 1, expected none: remove the annotation"),
    "odd polygon": ({"segmentation": [[*TRIANGLE, 1.0]]}, "position 0, that has 7 numbers"),
    "short polygon": ({"segmentation": [TRIANGLE, [1, 2, 3, 4]]}, "position 1, that has 4 numbers"),
    "flat polygon": ({"segmentation": TRIANGLE}, "that is '2.0', expected x and y in turn"),
    "empty polygon": ({"segmentation": [[]]}, "that has 0 numbers, expected x and y in turn"),
    "polygon of text": ({"segmentation": [["1"] * 6]}, "holds something else than numbers"),
    "polygon with NaN": ({"segmentation": [[NAN] * 6]}, "that holds nan, expected numbers up to"),
    "far polygon": ({"segmentation": [[1e9] * 6]}, "that holds 1000000000.0, expected"),
    "long number": ({"segmentation": [[10**400] * 6]}, "holds a number that is too large"),
    "endless polygon": (
        {"segmentation": [[0, 0, 999_999, 999_999] * 100]},
        "has an outline of 199,999,800 pixels, expected at most 50,000,000",
    ),
    "no segmentation": ({"segmentation": None}, "has no segmentation, expected one, as others"),
    "a text": ({"segmentation": "mask.png"}, "its segmentation is 'mask.png', expected a list"),
    "another size": (
        {"segmentation": LENGTHS | {"size": [30, 20]}},
        "its segmentation has the size [30, 20], expected [20, 30], height and width",
    ),
    "too few counts": ({"segmentation": LENGTHS | {"counts": [100, 20]}}, "add up to 120"),
    "no counts": ({"segmentation": {"size": [*SIZE]}}, "has counts that are 'None'"),
    "negative counts": (
        {"segmentation": LENGTHS | {"counts": [-1, 601]}},
        "has counts that are no whole numbers from 0 to the number of pixels",
    ),
    "halves of counts": ({"segmentation": LENGTHS | {"counts": [0.5, 599.5]}}, "no whole numbers"),
    "compressed to nothing": ({"segmentation": LENGTHS | {"counts": "zz"}}, "cannot be read"),
    "compressed too short": ({"segmentation": LENGTHS | {"counts": "44"}}, "add up to 8, expect"),
    "not compressed": ({"segmentation": LENGTHS | {"counts": "é"}}, "letters that are not ASCII"),
}


def faults_of(tmp_path, train, val=None, **options):
    """What is listed, after a check that nothing has been written."""
    with pytest.raises(AnnotationFaults) as raised:
        prepare_written(tmp_path, train, val, **options)
    assert not (tmp_path / "data").exists()
    assert raised.value.listed[0] in str(raised.value)
    return raised.value.listed


@pytest.mark.parametrize("name", OF_ANNOTATIONS)
def test_a_fault_of_an_annotation_is_listed_with_file_id_and_what_was_expected(tmp_path, name):
    changed, expected = OF_ANNOTATIONS[name]
    train = document([annotation(1), annotation(2, **changed), annotation(3)])
    (line,) = faults_of(tmp_path, train)
    assert line.startswith(f"{tmp_path / 'train.json'}: annotation 2: ")
    assert expected in line


@given(
    st.lists(
        st.tuples(st.sampled_from(["train", "val"]), st.sampled_from(list(OF_ANNOTATIONS))),
        min_size=1,
        max_size=25,
    )
)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_all_faults_of_both_files_are_found(tmp_path, drawn):
    documents = {"train": document([annotation(1)]), "val": document([annotation(1)])}
    expected = set()
    for number, (split, name) in enumerate(drawn):
        changed, message = OF_ANNOTATIONS[name]
        documents[split]["annotations"].append(annotation(10 + number, **changed))
        expected.add((f"{tmp_path / f'{split}.json'}: annotation {10 + number}: ", message))
    # Of one kind no more than 20 are listed, and these are fewer of each.
    listed = faults_of(tmp_path, documents["train"], documents["val"])
    kinds = {line for line in listed if line.startswith("...")}
    assert len(listed) - len(kinds) >= min(len(expected), 20)
    for line in set(listed) - kinds:
        assert any(line.startswith(start) and message in line for start, message in expected)
    if not kinds:
        assert len(listed) == len(expected)


# What is changed in a whole json, and what the list says of it.
OF_DOCUMENTS = {
    "an image without id": (
        {"images": [{"file_name": "1.png"}, image(1), image(2)]},
        "image at position 0: id None, expected a whole number",
    ),
    "an image that is none": ({"images": [3, image(1)]}, "image at position 0: is 3, expected"),
    "an image twice": ({"images": [image(1)] * 2}, "image 1: its id is there twice"),
    "a file twice": (
        {"images": [image(1), image(2, name="1.png")]},
        "image 2: its file '1.png' is that of another image too",
    ),
    "a missing file": (
        {"images": [image(1), image(3)]},
        "image 3: there is no file {folder}/images/3.png",
    ),
    "another size": (
        {"images": [image(1), image(2, (30, 20))]},
        "image 2: height and width are 30x20, expected 20x30, the size of {folder}/images/2.png",
    ),
    "no size": (
        {"images": [image(1), image(2) | {"height": 20.0}]},
        "image 2: height 20.0 and width 30, expected whole numbers of pixels",
    ),
    "an image above": (
        {"images": [image(1), image(2, name="../images/2.png")]},
        "image 2: file_name '../images/2.png', expected the path of a file below the folder",
    ),
    "an absolute path": (
        {"images": [image(1), image(2, name="/etc/passwd")]},
        "image 2: file_name '/etc/passwd', expected the path of a file below the folder",
    ),
    "no path": (
        {"images": [image(1), image(2) | {"file_name": 2}]},
        "image 2: file_name 2, expected the path of a file below the folder",
    ),
    "half a letter": (
        {"images": [image(1), image(2, name="\ud800.png")]},
        "image 2: file_name '\\ud800.png', expected the path",
    ),
    "no image": (
        {"images": [image(1), image(2, name="text.png")]},
        "image 2: {folder}/images/text.png is no image that can be read",
    ),
    "no categories": ({"categories": []}, "categories: there are none, expected one at least"),
    "a category twice": (
        {"categories": [*CATEGORIES, {"id": 7, "name": "cow"}]},
        "category 7: is there twice, as 'cat' and 'cow', expected once",
    ),
    "a name twice": (
        {"categories": [*CATEGORIES, {"id": 8, "name": "cat"}]},
        "category 8: is called 'cat' as category 7 is, expected another name",
    ),
    "a category without a name": (
        {"categories": [*CATEGORIES, {"id": 8}]},
        "category 8: name None, expected a text that can be shown",
    ),
    "a name that terminals obey": (
        {"categories": [*CATEGORIES, {"id": 8, "name": "\x1b[31mred"}]},
        "category 8: name '\\x1b[31mred', expected a text that can be shown",
    ),
    "a category as text": (
        {"categories": [*CATEGORIES, {"id": "8", "name": "cow"}]},
        "category at position 2: id '8', expected a whole number",
    ),
    "an annotation without id": (
        {"annotations": [annotation(1), {"bbox": [1, 2, 3, 4]}]},
        "annotation at position 1: id None, expected a whole number",
    ),
    "an annotation that is none": (
        {"annotations": [annotation(1), None]},
        "annotation at position 1: is None, expected an object",
    ),
    "an annotation twice": (
        {"annotations": [annotation(1), annotation(1)]},
        "annotation 1: its id is there twice, expected once",
    ),
}


def test_a_split_without_images_is_listed_before_anything_of_the_other_is_written(tmp_path):
    nothing = document([], images=[])
    listed = faults_of(tmp_path, document([annotation(1)]), nothing)
    expected = "images: there are none, expected one at least"
    assert list(listed) == [f"{tmp_path / 'val.json'}: {expected}"]


@pytest.mark.parametrize("name", OF_DOCUMENTS)
def test_a_fault_of_an_image_or_a_category_is_listed(tmp_path, name):
    changed, expected = OF_DOCUMENTS[name]
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "text.png").write_text("no image")
    listed = faults_of(tmp_path, document([annotation(1)]) | changed)
    expected = expected.format(folder=tmp_path)
    assert any(line.startswith(f"{tmp_path / 'train.json'}: {expected}") for line in listed)
    assert not any("\x1b" in line for line in listed)


# Texts that are no json of annotations, and what the list says of them.
NO_DOCUMENTS = {
    "": "is no JSON of annotations: found the end at character 0, expected {",
    "[]": "is no JSON of annotations: found '[' at character 0, expected {",
    '{"images": [], "annotations": []}': "has no 'categories'; expected an array of each",
    '{"images": 3}': "is no JSON of annotations: 'images' is '3', expected an array",
    '{"others": [1, 2': "is no JSON of annotations: found the end at character 16, expected ,",
    '{"others": [1 2]}': "is no JSON of annotations: found '2' at character 14, expected ,",
    '{"images": [Nope]}': "is no JSON of annotations: Expecting value at character 12",
    '{"images": []} more': "is no JSON of annotations: something comes behind the end",
    '{"images": ' + "[" * 100_000: "is no JSON of annotations: it is nested too deep",
    "{images: []}": "is no JSON of annotations: found 'i' at character 1, expected \"",
}


@pytest.mark.parametrize("text", NO_DOCUMENTS)
def test_a_file_that_is_no_json_of_annotations_is_listed_beside_faults_of_the_other(tmp_path, text):
    listed = faults_of(tmp_path, text, document([annotation(4, area=-1)]))
    assert listed[0].startswith(f"{tmp_path / 'train.json'} {NO_DOCUMENTS[text]}")
    assert listed[1].startswith(f"{tmp_path / 'val.json'}: annotation 4: area -1")


def test_bytes_that_are_no_text_and_files_that_are_not_there_are_listed(tmp_path):
    files = write(tmp_path, document([annotation(1)]))
    files["train_json"].write_bytes(b'{"images": ["\xff"]}')
    files["val_json"].unlink()
    with pytest.raises(AnnotationFaults) as raised:
        prepare_coco_json("own", tmp_path / "data", **files)
    first, second = raised.value.listed
    assert "train.json is no JSON of annotations: 'utf-8' codec can't decode" in first
    assert second == f"{files['val_json']} cannot be read (No such file or directory)"


def test_categories_that_are_not_trained_on_are_listed(tmp_path):
    categories = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}, {"id": 9, "name": "cow"}]
    val = document([annotation(1, category_id=9)], categories=categories)
    listed = faults_of(tmp_path, document([annotation(1)]), val)
    train_json, val_json = tmp_path / "train.json", tmp_path / "val.json"
    assert listed == (
        f"{val_json}: category 7: is 'dog', but {train_json} has 'cat'",
        f"{val_json}: category 3: is 'cat', but {train_json} has 'dog'",
        f"{val_json}: category 9: is 'cow', but {train_json} has none",
    )


def test_masks_in_one_file_alone_are_listed_as_missing_in_the_other(tmp_path):
    val = document([annotation(1, segmentation=[]), annotation(2, segmentation=[])])
    listed = faults_of(tmp_path, document([annotation(1)]), val)
    assert [line.split(": ")[:2] for line in listed] == [
        [str(tmp_path / "val.json"), f"annotation {i}"] for i in (1, 2)
    ]


def test_of_many_faults_of_a_kind_some_are_listed_with_the_number_of_all(tmp_path, capsys):
    annotations = [annotation(i, area=-1, bbox=[0, 0, -1, 1]) for i in range(1, 1001)]
    listed = faults_of(tmp_path, document(annotations))
    assert len(listed) == 42
    assert "... and 980 more: boxes that are none" in listed
    assert "... and 980 more: areas that are none" in listed
    shown = capsys.readouterr().err
    assert all(line in shown for line in listed)
    message = r"annotation 1: bbox .* \(and 1999 more faults\); nothing is written"
    with pytest.raises(InputError, match=message):
        prepare_written(tmp_path, document(annotations))


def test_an_image_over_the_limit_is_listed_before_it_is_decoded(tmp_path):
    listed = faults_of(tmp_path, document([annotation(1)]), max_image_pixels=599)
    assert len(listed) == 4
    assert "1.png has 600 pixels, expected at most 599; raise max_image_pixels" in listed[0]


def test_nothing_outside_the_folder_of_images_is_read(tmp_path, monkeypatch):
    outside = tmp_path / "secret.png"
    Image.new("RGB", (30, 20)).save(outside)
    names = ["../secret.png", str(outside), "a/../../secret.png"]
    images = [image(10 + i, name=name) for i, name in enumerate(names)]
    opened = []
    real = image_files.open_regular
    monkeypatch.setattr(
        image_files, "open_regular", lambda path: opened.append(str(path)) or real(path)
    )
    listed = faults_of(tmp_path, document([annotation(1)], [image(1), *images]))
    assert len(listed) == 3
    assert all("secret" not in path for path in opened)


def test_the_message_is_one_line_whatever_the_file_holds(tmp_path):
    listed = faults_of(
        tmp_path, document([annotation(1)], [image(1), image(2, name="a\n\x1b.png")])
    )
    assert "a\\n\\x1b.png" in listed[0]
    assert json.dumps(listed[0]).count("\\n") == listed[0].count("\\n")
