"""What preparing counts in the masks, what it refuses for it, and the picture that it leaves."""

import io
import json

import cv2
import numpy as np
import pytest
import rich.console
from hypothesis import given
from hypothesis import strategies as st

from gcnet_jax.data import preparation
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.segmentation.data import (
    DATA_SETS,
    DatasetClasses,
    LabelCounts,
    decode,
    evaluation_batches,
    prepare,
    prepare_folder,
)
from gcnet_jax.tasks.segmentation.data.label_counts import Remedies, check_learnable, counts_table
from tests.official_trees import make_cityscapes, make_own_images
from tests.training_batches import labelled_batches

SIZE = (24, 32)
MASK = np.zeros(SIZE, np.uint8)
MASK[4:12, 8:20] = 255
OBJECT, REST = 3 * 8 * 12, 3 * (24 * 32 - 8 * 12)  # pixels of three masks


@pytest.fixture
def source(tmp_path):
    """Two splits of three images with masks of 0 and 255, as drawing programs write them."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for folder in (split, f"{split}_masks"):
            (tmp_path / folder).mkdir()
        for i in range(3):
            image = rng.integers(0, 256, (*SIZE, 3), np.uint8)
            cv2.imwrite(str(tmp_path / split / f"{i}.png"), image)
            cv2.imwrite(str(tmp_path / f"{split}_masks" / f"{i}.png"), MASK)
    (tmp_path / "classes.csv").write_text("name,red,green,blue\nrest,0,0,90\nobject,0,200,0\n")
    return tmp_path


@pytest.fixture
def prepared(source):
    """`prepared(**changes)`: prepares the images of `source` as "things" in `source / "data"`."""

    def prepare_things(splits=("train", "val"), **changes):
        options = {
            "images": {split: [f"{split}/*.png"] for split in splits},
            "masks": {split: [f"{split}_masks/*.png"] for split in splits},
            "classes": source / "classes.csv",
        }
        return prepare_folder("things", source / "data", source, **(options | changes))

    return prepare_things


def draw_masks(source, split, mask):
    for path in (source / f"{split}_masks").iterdir():
        cv2.imwrite(str(path), mask)


def counts(source, split="train"):
    return DATA_SETS.counts("things", source / "data", split)


def assert_nothing_looks_whole(data_dir):
    with pytest.raises(InputError, match="not prepared"):
        DATA_SETS.open_split("things", data_dir, "train")
    assert not (data_dir / "things" / "2.0.0").exists()
    assert not list(data_dir.rglob("dataset_info.json"))


# Counting ----------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32 - 1), num_classes=st.integers(2, 255), images=st.integers(0, 4))
def test_counts_of_several_labels_are_those_of_a_loop_over_classes(seed, num_classes, images):
    rng = np.random.default_rng(seed)
    labels = [rng.integers(0, num_classes, rng.integers(1, 9, 2), np.uint8) for _ in range(images)]
    for label in labels:
        label[rng.random(label.shape) < rng.random()] = 255
    total = LabelCounts.nothing(num_classes)
    for label in labels:
        total += LabelCounts.of_label(label, num_classes)
    of_class = [[np.sum(label == c) for label in labels] for c in range(num_classes)]
    assert total.pixels == tuple(sum(n) for n in of_class)
    assert total.images_with == tuple(np.count_nonzero(n) for n in of_class)
    assert total.ignored == sum(np.sum(label == 255) for label in labels)
    assert total.images == images
    assert total.all_pixels == sum(label.size for label in labels)


def test_labels_of_many_pixels_are_counted_exactly():
    label = np.zeros((1 << 13, 1 << 12), np.uint8)  # more than a float32 can count
    label[-1, -3:] = 1, 1, 255
    assert LabelCounts.of_label(label, 2).pixels == (label.size - 3, 2)


def test_what_is_neither_a_class_nor_ignored_is_not_counted_in_silence():
    with pytest.raises(ValueError, match="label value 7; expected 0 to 2, or 255"):
        LabelCounts.of_label(np.array([[0, 7, 255]], np.uint8), 3)


def test_the_table_shows_shares_of_all_pixels_and_nothing_as_more_or_less_than_it_is():
    classes = DatasetClasses(("[sky]", "b", "c"), ((0, 0, 0),) * 3)
    of_split = LabelCounts(5, (999_999_000, 1, 0), (5, 1, 0), 999)
    console = rich.console.Console(file=io.StringIO(), width=100)
    console.print(counts_table({"train": of_split}, classes))
    rows = [line.replace("│", "").split() for line in console.file.getvalue().splitlines()]
    assert ["0", "[sky]", ">99.99", "5"] in rows
    assert ["1", "b", "<0.01", "1"] in rows
    assert ["2", "c", "0", "0"] in rows
    assert ["ignored", "<0.01"] in rows


# What is refused ---------------------------------------------------------------------------------


def test_masks_of_0_and_255_are_refused_with_the_counts_and_the_remedy(source, prepared, capfd):
    message = (
        r"class 'object' \(1\) occurs in no mask of split 'train', where 12.50 % of the pixels are "
        r"ignored; .*--map=255=1 .*--allow_absent"
    )
    with pytest.raises(InputError, match=message) as refusal:
        prepared()
    assert "\n" not in str(refusal.value)
    rows = [line.replace("│", "").split() for line in capfd.readouterr().err.splitlines()]
    assert ["1", "object", "0", "0", "0", "0"] in rows
    assert ["ignored", "12.50", "12.50"] in rows
    assert_nothing_looks_whole(source / "data")


def test_a_map_is_advised_only_where_something_is_ignored_and_for_the_absent_class(
    prepared, source
):
    (source / "classes.csv").write_text("name\nrest\nobject\nthird\n")
    draw_masks(source, "train", MASK // 255)
    with pytest.raises(InputError, match=r"class 'third' \(2\) occurs in no mask") as refusal:
        prepared()
    assert "--map" not in str(refusal.value)
    assert "--allow_absent" in str(refusal.value)
    with pytest.raises(InputError, match=r"'object'.*--map=255=1 makes 255 class 1; .*--allow_abs"):
        prepared(label_map={1: 255})


def test_a_class_of_another_split_alone_is_said_to_be_there(prepared, source):
    draw_masks(source, "train", np.zeros(SIZE, np.uint8))
    draw_masks(source, "val", MASK // 255)
    expected = (
        r"'object' .* no mask of split 'train', .*; masks of split 'val' have it: give 'train'"
    )
    with pytest.raises(InputError, match=expected):
        prepared()


def test_the_remedy_works_on_what_the_refusal_has_left(source, prepared):
    with pytest.raises(InputError, match="occurs in no mask"):
        prepared()
    prepared(label_map={255: 1})
    for split in ("train", "val"):
        assert counts(source, split) == LabelCounts(3, (REST, OBJECT), (3, 3), 0)
        for record in DATA_SETS.open_split("things", source / "data", split):
            np.testing.assert_array_equal(decode(record)["label"], MASK // 255)
    with pytest.raises(InputError, match=r"or read otherwise \(--map, --or.*; delete"):
        prepared()


def test_absent_classes_can_be_allowed_and_nothing_is_stored_again(source, prepared, capfd):
    with pytest.raises(InputError, match="occurs in no mask"):
        prepared()
    prepared(allow_absent=True)
    assert "train: 3 of 3 images are there" in capfd.readouterr().err
    assert counts(source) == LabelCounts(3, (REST, 0), (3, 0), OBJECT)


def test_a_map_changed_in_between_makes_every_shard_anew(source, prepared):
    with pytest.raises(InputError, match="occurs in no mask"):
        prepared(label_map={0: 1, 255: 1})
    prepared(label_map={0: 1, 255: 0})
    assert counts(source).pixels == (OBJECT, REST)


def test_training_masks_that_are_ignored_everywhere_are_refused(source, prepared):
    draw_masks(source, "train", np.full(SIZE, 255, np.uint8))
    draw_masks(source, "val", MASK // 255)
    for allow_absent in (False, True):
        with pytest.raises(InputError, match=r"'train' are ignored everywhere, .*--map=255=1"):
            prepared(allow_absent=allow_absent)
        assert_nothing_looks_whole(source / "data")


def test_without_a_training_split_a_class_may_occur_in_any(source, prepared):
    draw_masks(source, "train", np.zeros(SIZE, np.uint8))
    draw_masks(source, "val", np.ones(SIZE, np.uint8))
    with pytest.raises(InputError, match=r"'object'.* no mask of split 'train',"):
        prepared()
    for folder in ("train", "train_masks"):
        (source / folder).rename(source / folder.replace("train", "first"))
    prepared(splits=("first", "val"))


def test_a_table_of_one_class_is_refused_before_anything_is_read(source, prepared):
    (source / "classes.csv").write_text("name\nobject\n")
    with pytest.raises(InputError, match=r"'object' is the only class, .*'background'"):
        prepared()
    assert not (source / "data").exists()


def test_many_absent_classes_are_not_all_named():
    classes = DatasetClasses(tuple(f"c{i}" for i in range(30)), ((0, 0, 0),) * 30)
    of_split = LabelCounts(1, (10,) + (0,) * 29, (1,) + (0,) * 29, 0)
    with pytest.raises(InputError, match=r"classes 'c1' \(1\), .* 'c8' \(8\) and 21 more occur"):
        check_learnable({"train": of_split}, classes, Remedies("", "do that"))


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        ({256: 1}, "--map=256=1: 256 is no mask value"),
        ({-1: 1}, "--map=-1=1: -1 is no mask value"),
        ({255: 2}, "--map=255=2: 2 is no class; expected 0 to 1, or 255"),
        ({255: -1}, "--map=255=-1: -1 is no class"),
    ],
)
def test_a_map_to_or_from_what_there_is_not_is_refused(prepared, label_map, message):
    with pytest.raises(InputError, match=message):
        prepared(label_map=label_map)


def test_a_value_that_is_no_class_is_answered_with_the_map_that_takes_it(source, prepared):
    draw_masks(source, "train", MASK // 2)
    with pytest.raises(InputError, match=r"value 127; expected 0 to 1, 255.*--map=127=CLASS.*=255"):
        prepared()
    with pytest.raises(InputError, match=r"value 127; expected 0 to 1, 255, of which none is ign"):
        prepared(label_map={255: 1})
    prepared(label_map={127: 1})
    assert counts(source).pixels == (REST, OBJECT)


# Official sets -----------------------------------------------------------------------------------


def test_a_part_of_an_official_set_may_lack_classes_but_not_all_labels(tmp_path):
    source = make_cityscapes(tmp_path / "source", {"train": 1, "val": 1, "test": 1})
    prepare("cityscapes", tmp_path / "data", source, subset=True)
    of_train = DATA_SETS.counts("cityscapes", tmp_path / "data", "train")
    assert of_train is not None
    assert 0 in of_train.pixels
    for path in (source / "gtFine" / "train").rglob("*_labelIds.png"):
        cv2.imwrite(str(path), np.zeros((32, 64), np.uint8))
    with pytest.raises(InputError, match=r"'train' are ignored everywhere, .*official set\?"):
        prepare("cityscapes", tmp_path / "other", source, subset=True)


def test_a_split_without_labels_is_prepared_but_neither_evaluated_nor_trained_on(root, tmp_path):
    source = make_cityscapes(tmp_path / "source")
    prepare("cityscapes", tmp_path / "data", source, subset=True)
    config = load_config(root / "configs" / "context_shapes" / "gcnet.py")
    config.data.update(name="cityscapes", data_dir=str(tmp_path / "data"), train_split="test")
    message = "no pixel of split 'test' of 'cityscapes' has a label"
    with pytest.raises(InputError, match=message):
        evaluation_batches(config, "test")
    with pytest.raises(InputError, match=message):
        labelled_batches(config.data, batch_size=1, seed=0)
    evaluation_batches(config, "val")


# What is kept ------------------------------------------------------------------------------------


def test_counts_survive_an_interruption_and_stand_in_the_description(source, monkeypatch):
    monkeypatch.setattr(preparation, "SHARD_BYTES", 2650)
    own = make_own_images(source / "own", {"train": 5, "val": 3})
    patterns = {split: [f"{split}/*/*"] for split in ("train", "val")}
    options = {
        "images": {split: [f"{p}_rgb.jpg"] for split, (p,) in patterns.items()},
        "masks": {split: [f"{p}_label.png"] for split, (p,) in patterns.items()},
        "classes": own / "classes.csv",
    }
    broken = own / "train" / "house" / "1_label.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:60])
    with pytest.raises(InputError, match=r"1_label.png"):
        prepare_folder("plants", source / "data", own, **options)
    broken.write_bytes(whole)
    folder = prepare_folder("plants", source / "data", own, **options)
    for split in ("train", "val"):
        masks = [cv2.imread(str(path), -1) for path in (own / split).rglob("*_label.png")]
        expected = LabelCounts.nothing(3)
        for mask in masks:
            expected += LabelCounts.of_label(mask, 3)
        assert DATA_SETS.counts("plants", source / "data", split) == expected
        described = json.loads((folder / "contents.json").read_text())["labels"][split]
        assert described["ignored_pixels"] == expected.ignored
        assert described["classes"]["leaf"] == {
            "pixels": expected.pixels[1],
            "images": expected.images_with[1],
        }


def without_counts(folder):
    """Makes the table of contents what earlier versions wrote."""
    table = folder / "contents.json"
    plain = json.loads(table.read_text())
    del plain["labels"]
    for shards in plain["splits"].values():
        for shard in shards.values():
            del shard["counts"]
    table.write_text(json.dumps(plain))


def test_a_set_that_an_earlier_version_prepared_is_still_read(root, source, prepared):
    folder = prepared(label_map={255: 1})
    without_counts(folder)
    (folder / "samples.png").unlink()
    assert prepared(label_map={255: 1}) == folder
    assert counts(source) is None
    config = load_config(root / "configs" / "context_shapes" / "gcnet.py")
    config.data.update(name="things", data_dir=str(source / "data"))
    assert next(evaluation_batches(config, "val"))["label_size"].max() == 32


def test_what_an_earlier_version_has_begun_is_counted_again(source, prepared):
    folder = prepared(allow_absent=True)
    without_counts(folder)
    folder.rename(folder.parent / "unfinished-2.0.0")
    prepared(allow_absent=True)
    assert counts(source) == LabelCounts(3, (REST, 0), (3, 0), OBJECT)


def test_a_set_of_one_class_that_an_earlier_version_prepared_is_not_trained_on(
    root, source, prepared
):
    folder = prepared(label_map={255: 1})
    without_counts(folder)
    table = folder / "contents.json"
    plain = json.loads(table.read_text())
    plain["classes"] = {"names": ["object"], "palette": [[0, 200, 0]]}
    table.write_text(json.dumps(plain))
    config = load_config(root / "configs" / "context_shapes" / "gcnet.py").data
    config.update(name="things", data_dir=str(source / "data"))
    with pytest.raises(InputError, match=r"'things' has the one class 'object'.*'background'"):
        labelled_batches(config, batch_size=1, seed=0)


@pytest.mark.parametrize("damage", [{"pixels": [1]}, {"ignored": "many"}, {"images_with": None}])
def test_damaged_counts_are_named(source, prepared, damage):
    table = prepared(label_map={255: 1}) / "contents.json"
    plain = json.loads(table.read_text())
    plain["splits"]["train"]["0"]["counts"].update(damage)
    table.write_text(json.dumps(plain))
    with pytest.raises(InputError, match=r"contents.json is missing or damaged"):
        counts(source)


# The picture -------------------------------------------------------------------------------------


def test_the_picture_shows_images_masks_in_their_colours_and_both(source, prepared):
    folder = prepared(label_map={255: 1})
    picture = cv2.imread(str(folder / "samples.png"))[..., ::-1]
    palette = DATA_SETS.meaning("things", source / "data").palette
    shares = [(picture == colour).all(-1).mean() / 6 for colour in palette]
    cell = 400 * 300 / picture[..., 0].size
    assert shares[0] == pytest.approx(cell * REST / (REST + OBJECT), rel=0.02)
    assert shares[1] == pytest.approx(cell * OBJECT / (REST + OBJECT), rel=0.02)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (5, 7), (900, 30)])
def test_images_of_any_shape_can_be_pictured(source, prepared, size):
    for split in ("train", "val"):
        for path in (source / split).iterdir():
            cv2.imwrite(str(path), np.zeros((*size, 3), np.uint8))
        draw_masks(source, split, np.ones(size, np.uint8))
    assert cv2.imread(str(prepared(allow_absent=True) / "samples.png")) is not None


@pytest.mark.parametrize("name", ["$x$", "_hidden", "[/road]", "道路", "a" * 300, "\\", "é"])
def test_classes_of_any_name_can_be_pictured(source, prepared, name, recwarn):
    (source / "classes.csv").write_text(f"name\nrest\n{name}\n", encoding="utf-8")
    assert (prepared(label_map={255: 1}) / "samples.png").exists()
    assert not [warning for warning in recwarn if "glyph" in str(warning.message).lower()]
