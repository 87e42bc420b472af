"""Images that EXIF turns, and masks made on either way round."""

import io
import itertools

import numpy as np
import pytest
from etils import epath
from PIL import Image, ImageOps

from gcnet_jax.data import read_rgb
from gcnet_jax.data.image_files import read_image_file
from gcnet_jax.data.orientation import turned
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.data import DATA_SETS, decode, prepare, prepare_folder
from tests.official_trees import make_ade20k

RNG = np.random.default_rng(0)
STORED = RNG.integers(0, 256, (12, 20, 3), np.uint8)
MASK = RNG.integers(0, 3, (12, 20)).astype(np.uint8)
LOSSLESS = {"png": {}, "webp": {"lossless": True}, "tif": {}}


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def save(path, pixels, orientation=1, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if path.suffix == ".tif":
        image.save(path, tiffinfo={0x0112: orientation})
    else:
        image.save(path, exif=exif(orientation), **options)


def displayed(pixels, orientation):
    """What Pillow makes of it: another opinion than that of the code under test."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", exif=exif(orientation))
    return np.asarray(ImageOps.exif_transpose(Image.open(file)))


@pytest.fixture
def prepared(tmp_path):
    """`prepared(**changes)`: the one sample of a set of an image with an orientation and a mask."""
    numbers = itertools.count()

    def prepare_one(
        image=STORED,
        mask=MASK,
        orientation=1,
        suffix="png",
        masks=None,
        data_dir=None,
        mask_options=None,
        pixels="as_found",
    ):
        save(tmp_path / "images" / f"x.{suffix}", image, orientation, **LOSSLESS[suffix])
        save(tmp_path / "masks" / "x.png", mask, **(mask_options or {}))
        (tmp_path / "classes.csv").write_text("name\na\nb\nc\n")
        data_dir = data_dir or tmp_path / f"data {next(numbers)}"
        prepare_folder(
            "turned",
            data_dir,
            tmp_path,
            images={"train": [f"images/*.{suffix}"]},
            masks={"train": ["masks/*.png"]},
            classes=tmp_path / "classes.csv",
            orientation=masks,
            pixels=pixels,
        )
        (record,) = DATA_SETS.open_split("turned", data_dir, "train")
        return decode(record)

    return prepare_one


@pytest.mark.parametrize("orientation", range(1, 9))
def test_arrays_are_turned_as_pillow_turns_images(orientation):
    np.testing.assert_array_equal(turned(MASK, orientation), displayed(MASK, orientation))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", LOSSLESS)
def test_images_are_read_as_they_are_displayed(tmp_path, suffix, orientation):
    path = tmp_path / f"x.{suffix}"
    save(path, STORED, orientation, **LOSSLESS[suffix])
    assert read_image_file(epath.Path(path)).orientation == orientation
    np.testing.assert_array_equal(read_rgb(path), displayed(STORED, orientation))


@pytest.mark.parametrize("pixels", ["as_found", "uncompressed"])
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("suffix", LOSSLESS)
def test_the_size_of_a_mask_says_which_way_round_it_is(prepared, suffix, orientation, pixels):
    upright = displayed(MASK, orientation)
    for mask in (MASK, upright):
        sample = prepared(STORED, mask, orientation, suffix, pixels=pixels)
        np.testing.assert_array_equal(sample["image"], displayed(STORED, orientation))
        np.testing.assert_array_equal(sample["label"], upright)


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_where_sizes_fit_both_ways_round_preparing_asks(prepared, orientation):
    with pytest.raises(
        InputError,
        match=rf"x.png has the EXIF orientation {orientation}, and .*x.png fits it as displayed "
        "and as stored; .*--orientation=displayed or --orientation=stored",
    ):
        prepared(orientation=orientation)
    for made_on, label in (("displayed", MASK), ("stored", displayed(MASK, orientation))):
        sample = prepared(orientation=orientation, masks=made_on)
        np.testing.assert_array_equal(sample["image"], displayed(STORED, orientation))
        np.testing.assert_array_equal(sample["label"], label)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_square_images_are_asked_about_too(prepared, orientation):
    square = {"image": STORED[:, :12], "mask": MASK[:, :12], "orientation": orientation}
    with pytest.raises(InputError, match="--orientation=displayed or --orientation=stored"):
        prepared(**square)
    sample = prepared(**square, masks="stored")
    np.testing.assert_array_equal(sample["label"], displayed(MASK[:, :12], orientation))


def test_nothing_is_asked_where_it_makes_no_difference(prepared):
    symmetric = np.maximum(MASK, MASK[::-1, ::-1])
    assert prepared(mask=symmetric, orientation=3)["label"].tolist() == symmetric.tolist()
    assert prepared(orientation=1)["label"].tolist() == MASK.tolist()


def test_another_answer_is_another_set(prepared, tmp_path):
    options = {"orientation": 3, "data_dir": tmp_path / "data"}
    prepared(**options, masks="stored")
    with pytest.raises(InputError, match=r"read otherwise \(--map, --orientation\); delete"):
        prepared(**options, masks="displayed")


def test_a_mask_that_fits_neither_way_is_answered_with_both_sizes(prepared):
    message = (
        "x.png is 12x19 .*expected 20x12, the size of .*x.png as it is displayed, or 12x20, as it "
        r"is stored \(its EXIF orientation is 6\)"
    )
    with pytest.raises(InputError, match=message):
        prepared(mask=MASK[:, :19], orientation=6)


def test_a_mask_with_an_orientation_of_its_own_is_refused(prepared):
    with pytest.raises(InputError, match=r"x.png: the label has an EXIF orientation of its own, 6"):
        prepared(mask_options={"orientation": 6})


def test_damaged_exif_is_no_reason_to_guess(tmp_path):
    path = tmp_path / "x.jpg"
    save(path, STORED, 6)
    encoded = path.read_bytes()
    path.write_bytes(encoded.replace(b"Exif\0\0MM", b"Exif\0\0XM"))
    with pytest.raises(InputError, match=r"x.jpg: its EXIF data is damaged"):
        read_rgb(path)


def test_an_orientation_that_is_none_is_the_stored_one(tmp_path):
    save(tmp_path / "x.png", STORED, 9)
    np.testing.assert_array_equal(read_rgb(tmp_path / "x.png"), STORED)


def test_official_sets_are_asked_about_too(tmp_path):
    source = make_ade20k(tmp_path / "source")
    path = sorted((source / "ADEChallengeData2016" / "images" / "training").iterdir())[0]
    save(path, np.asarray(Image.open(path)), 3)
    with pytest.raises(InputError, match="--orientation=stored"):
        prepare("ade20k", tmp_path / "data", source, subset=True)
    prepare("ade20k", tmp_path / "data", source, subset=True, orientation="stored")
