"""ImageNet from its archives, which are read where they lie, and from unpacked folders."""

import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from gcnet_jax.data import preparation
from gcnet_jax.data.tar_index import read_member
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.classification.data import DATA_SETS, decode, prepare
from gcnet_jax.tasks.classification.data.classes import WORDNET_IDS
from gcnet_jax.tasks.classification.data.sources import stored_images
from tests.imagenet_trees import (
    CLASSES,
    PER_CLASS,
    VAL_LABELS,
    challenge_ids,
    colour_of,
    tar_of,
    training_images,
    validation_images,
    write_archives,
    write_folders,
)

TRAIN, VAL, DEVKIT = (
    "ILSVRC2012_img_train.tar",
    "ILSVRC2012_img_val.tar",
    "ILSVRC2012_devkit_t12.tar.gz",
)


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    return write_archives(tmp_path_factory.mktemp("archives"))


@pytest.fixture
def source(archives, tmp_path):
    """A copy of the archives, to do harm to."""
    return Path(shutil.copytree(archives, tmp_path / "source"))


def contents(data_dir, split):
    return [
        (record["name"].decode(), int(record["label"]), record["image"])
        for record in DATA_SETS.open_split("imagenet", data_dir, split)
    ]


def expected_training():
    return [
        (Path(file).stem, index, content)
        for index in CLASSES
        for file, content in sorted(training_images()[WORDNET_IDS[index]].items())
    ]


def expected_validation():
    files = validation_images().items()
    return [
        (Path(file).stem, index, content)
        for (file, content), index in zip(files, VAL_LABELS, strict=True)
    ]


def test_the_classes_are_all_thousand_in_the_order_of_their_ids():
    names = DATA_SETS.meaning("imagenet").names
    assert len(names) == len(WORDNET_IDS) == 1000
    assert list(WORDNET_IDS) == sorted(set(WORDNET_IDS))
    assert names[0] == "tench (n01440764)"
    assert [name for name in names if name.startswith("crane ")] == [names[134], names[517]]
    assert names[999] == "toilet tissue (n15075141)"


def test_archives_are_read_in_place_with_the_labels_of_the_devkit(archives, tmp_path):
    prepare("imagenet", tmp_path, archives, subset=True)
    assert contents(tmp_path, "train") == expected_training()
    assert contents(tmp_path, "val") == expected_validation()
    unpacked = {path.name for path in (tmp_path / "imagenet" / "unpacked").rglob("*")}
    assert not [name for name in unpacked if name.endswith(("JPEG", "train", ".tar"))]
    assert challenge_ids()[517] != 518  # or else it would not matter whose numbers are read


@pytest.mark.parametrize("val_in_classes", [False, True])
def test_folders_are_read_as_archives_are(tmp_path, val_in_classes):
    folder = write_folders(tmp_path / "source", val_in_classes=val_in_classes)
    prepare("imagenet", tmp_path, folder, subset=True)
    assert contents(tmp_path, "train") == expected_training()
    assert contents(tmp_path, "val") == expected_validation()


def test_the_archives_of_the_classes_may_lie_in_a_folder(tmp_path):
    (tmp_path / "source" / "train").mkdir(parents=True)
    for name, files in training_images().items():
        (tmp_path / "source" / "train" / f"{name}.tar").write_bytes(tar_of(files))
    prepare("imagenet", tmp_path, tmp_path / "source", subset=True, splits=["train"])
    assert contents(tmp_path, "train") == expected_training()


@pytest.mark.parametrize("pixels", ["as_found", "uncompressed"])
def test_what_is_called_jpeg_and_is_png_or_cmyk_is_read_too(archives, tmp_path, pixels):
    prepare("imagenet", tmp_path, archives, subset=True, splits=["train"], pixels=pixels)
    for record in DATA_SETS.open_split("imagenet", tmp_path, "train"):
        sample = decode(record)
        assert sample["image"].shape == (*record["size"], 3)
        tolerance = 40 if sample["label"] == 999 else 6  # of the inks that a screen has not
        difference = sample["image"].astype(int) - colour_of(sample["label"])
        assert np.abs(difference).max() <= tolerance
    counts = DATA_SETS.counts("imagenet", tmp_path, "train")
    assert counts.images == dict.fromkeys(CLASSES, PER_CLASS)


def test_the_numbers_of_images_are_those_of_the_release(archives, tmp_path):
    message = r"12 images in 'train', expected 1281167; 6 images in 'val', expected 50000; .*subset"
    with pytest.raises(InputError, match=message):
        prepare("imagenet", tmp_path, archives)


def test_a_split_needs_its_own_archives_alone_and_others_are_added(source, tmp_path):
    for name in (TRAIN, DEVKIT):
        (source / name).rename(tmp_path / name)
    message = r"expected .*ILSVRC2012_devkit_t12/ or its archive ILSVRC2012_devkit_t12\.tar\.gz, or"
    with pytest.raises(InputError, match=message):
        prepare("imagenet", tmp_path, source, subset=True, splits=["val"])
    (tmp_path / DEVKIT).rename(source / DEVKIT)
    prepare("imagenet", tmp_path, source, subset=True, splits=["val"])
    (source / DEVKIT).unlink()
    (tmp_path / TRAIN).rename(source / TRAIN)
    prepare("imagenet", tmp_path, source, subset=True)
    assert contents(tmp_path, "train") == expected_training()
    assert contents(tmp_path, "val") == expected_validation()


def test_an_interrupted_preparation_goes_on_behind_what_is_whole(archives, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "SHARD_BYTES", 2000)
    read, first = [], 8

    def read_some(archive, member):
        if len(read) >= first:
            raise KeyboardInterrupt
        read.append(member.name)
        return read_member(archive, member)

    monkeypatch.setattr(stored_images, "read_member", read_some)
    with pytest.raises(KeyboardInterrupt):
        prepare("imagenet", tmp_path, archives, subset=True, splits=["train"])
    with pytest.raises(InputError, match="not prepared"):
        DATA_SETS.open_split("imagenet", tmp_path, "train")
    read.clear()
    first = len(CLASSES) * PER_CLASS
    prepare("imagenet", tmp_path, archives, subset=True, splits=["train"])
    assert 0 < len(read) < first
    assert contents(tmp_path, "train") == expected_training()


# What is not as expected --------------------------------------------------------------------------


@pytest.fixture
def refused(tmp_path):
    """`refused(source, message)`: preparing it is, and nothing is left that looks whole."""

    def check(source, message, **options):
        with pytest.raises(InputError, match=message) as error:
            prepare("imagenet", tmp_path / "data", source, **({"subset": True} | options))
        assert len(str(error.value).splitlines()) == 1
        assert not list((tmp_path / "data").rglob("dataset_info.json"))

    return check


@pytest.mark.parametrize("more", [0, 300, 512, 2000])
def test_a_partial_download_is_named(source, refused, more):
    whole = (source / TRAIN).read_bytes()
    last = whole.rindex(b"n01440764.tar")  # the header of the last class, in this archive
    (source / TRAIN).write_bytes(whole[: last + more])
    refused(source, rf"{TRAIN} is not a whole tar .* partial download")


@pytest.mark.parametrize(
    ("kind", "target", "says"),
    [
        (tarfile.SYMTYPE, "/etc/passwd", "is neither a regular file nor a folder"),
        (tarfile.LNKTYPE, "n01440764.tar", "is neither a regular file nor a folder"),
        (tarfile.CHRTYPE, "", "is neither a regular file nor a folder"),
    ],
)
def test_archives_of_strangers_make_no_links_and_no_files(source, refused, kind, target, says):
    member = tarfile.TarInfo("../n01440764.tar")
    member.type, member.linkname = kind, target
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(member)
    (source / TRAIN).write_bytes(buffer.getvalue())
    refused(source, says)


def test_names_that_lead_elsewhere_lead_nowhere(source, tmp_path):
    files = {f"../../{name}": content for name, content in validation_images().items()}
    (source / VAL).write_bytes(tar_of(files))
    before = set(tmp_path.iterdir())
    prepare("imagenet", tmp_path, source, subset=True, splits=["val"])
    assert contents(tmp_path, "val") == expected_validation()
    assert set(tmp_path.iterdir()) - before == {tmp_path / "imagenet"}


def test_a_devkit_that_leads_out_of_its_folder_is_refused(source, refused, tmp_path):
    with tarfile.open(source / DEVKIT, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../../elsewhere"))
    refused(source, "does not lie below the folder")
    assert not list(tmp_path.rglob("elsewhere"))


def test_headers_that_only_say_more_of_a_file_are_passed_over(source, tmp_path):
    def write(**headers):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, content in validation_images().items():
                member = tarfile.TarInfo(name)
                member.size, member.mtime = len(content), 1.5  # which takes such a header
                member.pax_headers = headers
                tar.addfile(member, io.BytesIO(content))
        (source / VAL).write_bytes(buffer.getvalue())

    write(path="another name")
    with pytest.raises(InputError, match="gives a file a longer name or size"):
        prepare("imagenet", tmp_path, source, subset=True, splits=["val"])
    write(comment="made anew")
    prepare("imagenet", tmp_path, source, subset=True, splits=["val"])
    assert contents(tmp_path, "val") == expected_validation()


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"n01440764.zip": b""}, r"holds 'n01440764\.zip'; expected the archives of the 1000"),
        ({"n99999999.tar": b""}, r"holds 'n99999999\.tar'; expected"),
        ({"n01440764.tar": tar_of({"x.txt": b""})}, r"holds 'x\.txt'; expected images alone"),
        ({"n01440764.tar": b"no tar" * 200}, r"n01440764\.tar' is not a whole tar"),
    ],
)
def test_what_is_not_the_training_archive_is_refused(source, refused, files, says):
    (source / TRAIN).write_bytes(tar_of(files))
    refused(source, says)


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("data/ILSVRC2012_validation_ground_truth.txt", b"1\n2\n", "00000002, for which"),
        ("data/ILSVRC2012_validation_ground_truth.txt", b"1001\n" * 6, "has class 1001; expected"),
        ("data/ILSVRC2012_validation_ground_truth.txt", b"one\n", "something else than a number"),
        ("data/meta.mat", b"no MATLAB file", "not the meta.mat of the devkit"),
        ("data/meta.mat", None, r"meta\.mat is missing"),
    ],
)
def test_a_devkit_that_is_none_is_named(tmp_path, refused, file, content, says):
    folder = write_folders(tmp_path / "source")
    path = folder / "ILSVRC2012_devkit_t12" / file
    path.unlink() if content is None else path.write_bytes(content)
    refused(folder, says, splits=["val"])


def test_a_devkit_of_other_classes_is_named(tmp_path, refused):
    folder = write_folders(tmp_path / "source")
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("num_children", "O")]
    synsets = np.array([(1, "n00000001", 0), (2, WORDNET_IDS[0], 0)], dtype=kind)
    scipy.io.savemat(folder / "ILSVRC2012_devkit_t12/data/meta.mat", {"synsets": synsets})
    refused(folder, "'n00000001', which is no class of ILSVRC2012", splits=["val"])


@pytest.mark.parametrize(
    ("strange", "says"),
    [
        ("train/roses/1.jpg", r"'roses'; expected folders of the 1000 .*as class_folders"),
        ("train/1.jpg", r"'1\.jpg'; expected folders of the 1000"),
        ("train/n01440764/notes.txt", r"'notes\.txt'; expected images alone"),
        ("val/notes.txt", r"'notes\.txt' beside images"),
        ("val/ILSVRC2012_val_1.JPEG", r"'ILSVRC2012_val_1\.JPEG'; expected"),
    ],
)
def test_what_does_not_belong_to_the_release_is_named(tmp_path, refused, strange, says):
    folder = write_folders(tmp_path / "source")
    (folder / strange).parent.mkdir(exist_ok=True)
    (folder / strange).write_bytes(b"")
    refused(folder, says)


def test_all_training_images_of_one_class_are_refused(tmp_path, refused, capfd):
    folder = write_folders(tmp_path / "source")
    for index in CLASSES[1:]:
        shutil.rmtree(folder / "train" / WORDNET_IDS[index])
    refused(folder, r"all 3 images of split 'train' are of 'tench \(n01440764\)'", splits=["train"])
    assert "each of 1000" in capfd.readouterr().err
