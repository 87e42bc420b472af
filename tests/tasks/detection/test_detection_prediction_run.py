"""Photographs in, files out: what a detector leaves in a folder."""

import json

import numpy as np
import pytest
import rich.console
from etils import epath
from PIL import Image
from pycocotools import mask as coco_masks

from gcnet_jax.errors import InputError
from gcnet_jax.models import split_for_evaluation
from gcnet_jax.task import Photo, PredictionOptions, TrainedModel
from gcnet_jax.tasks.contact_sheet import read_sheet
from gcnet_jax.tasks.detection.prediction_run import predict_photos
from gcnet_jax.tasks.detection.trained_detector import TrainedDetector
from tests.tasks.detection.data.annotated import CLASSES
from tests.tasks.detection.pixel_detector import PixelDetector, small_config


@pytest.fixture(scope="module")
def trained():
    graphdef, variables = split_for_evaluation(PixelDetector())
    return TrainedModel(graphdef, variables, CLASSES, epath.Path("x.pth"))


@pytest.fixture
def photos(tmp_path):
    """Seven photographs of three shapes, one of them in a folder, and one that is none."""
    folder = epath.Path(tmp_path) / "photos"
    (folder / "sub").mkdir(parents=True)
    sizes = [(40, 60), (64, 60), (41, 61), (90, 30), (40, 58), (38, 60), (64, 62)]
    names = ["a", "000000000139", "b", "sub/c", "1", "01", "139"]
    found = []
    for index, (name, size) in enumerate(zip(names, sizes, strict=True)):
        pixels = np.random.default_rng(index).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
        found.append(Photo(folder / f"{name}.png", name))
    (folder / "none.png").write_text("no picture")
    return [*found, Photo(folder / "none.png", "none")]


def options(console=None, **changes):
    console = console or rich.console.Console(quiet=True)
    return PredictionOptions(
        **{
            "source": "x.pth",
            "legend": False,
            "with_scores": False,
            "max_pixels": 10**9,
            "overwrite": False,
            "console": console,
            **changes,
        }
    )


def predicted(trained, photos, folder, **changes):
    folder.mkdir(exist_ok=True)
    config = small_config("")
    config.evaluation.batch_size = 3
    return predict_photos(trained, config, photos, epath.Path(folder), options(**changes))


def test_each_photograph_gets_its_files_and_all_are_in_one(trained, photos, tmp_path):
    out = tmp_path / "out"
    with (tmp_path / "log").open("w") as log:
        written = predicted(trained, photos, out, console=rich.console.Console(file=log, width=300))
    assert written.done == 7
    (error,) = written.errors
    assert "none.png" in error
    assert "left out" in (tmp_path / "log").read_text()
    together = json.loads((out / "coco_results.json").read_text())
    assert sorted(path.name for path in (out / "sub").iterdir()) == [
        "c_objects.json",
        "c_overlay.png",
    ]
    network = TrainedDetector(trained_as_pretrained(trained), small_config(""))
    for photo in photos[:-1]:
        result = network(photo.path)
        plain = json.loads((out / f"{photo.name}_objects.json").read_text())
        assert len(plain) == len(result) > 0
        entries = [
            each
            for each in together
            if each["image_id"] == (139 if photo.name == "000000000139" else photo.name)
        ]
        for row, (one, entry) in enumerate(zip(plain, entries, strict=True)):
            assert one["class"] == CLASSES.names[result.labels[row]]
            assert one["index"] == result.labels[row]
            np.testing.assert_allclose(one["box"], result.boxes[row], rtol=1e-6)
            np.testing.assert_allclose(one["score"], entry["score"])
            assert entry["category_id"] == CLASSES.category_ids[result.labels[row]]
            left, top, right, bottom = one["box"]
            np.testing.assert_allclose(entry["bbox"], [left, top, right - left, bottom - top])
            for mask in (one["mask"], entry["segmentation"]):
                counts = {"size": mask["size"], "counts": mask["counts"].encode()}
                np.testing.assert_array_equal(coco_masks.decode(counts), result.mask(row))
        picture = Image.open(out / f"{photo.name}_overlay.png")
        assert (picture.height, picture.width) == result.image.shape[:2]
    shown = read_sheet(epath.Path(out))
    assert [entry.name for entry in shown] == [photo.name for photo in photos[:-1]]
    assert shown[0].note.endswith("objects")


def trained_as_pretrained(trained):
    from gcnet_jax.models import merge
    from gcnet_jax.task import PretrainedModel

    model = merge(trained.graphdef, trained.variables)
    return PretrainedModel(model, trained.meaning, trained.checkpoint)


def test_later_results_are_added_to_those_of_others_and_replace_their_own(
    trained, photos, tmp_path
):
    out = tmp_path / "out"
    predicted(trained, photos[:2], out)
    first = json.loads((out / "coco_results.json").read_text())
    predicted(trained, photos[1:3], out, overwrite=True)
    both = json.loads((out / "coco_results.json").read_text())
    assert {entry["image_id"] for entry in both} == {"a", 139, "b"}
    of_both = [[x for x in entries if x["image_id"] == 139] for entries in (first, both)]
    assert of_both[0] == of_both[1]


@pytest.mark.parametrize("content", ['[{"image_id": 3}, {"image_id": 5}]', "[\n{}\n]\n", "[\n"])
def test_a_file_of_results_that_is_another_is_not_lost(trained, photos, tmp_path, content):
    out = tmp_path / "out"
    out.mkdir()
    (out / "coco_results.json").write_text(content)
    with pytest.raises(InputError, match=r"coco_results\.json .*or --overwrite to replace it"):
        predicted(trained, photos[:1], out)
    assert (out / "coco_results.json").read_text() == content
    assert [path.name for path in out.iterdir()] == ["coco_results.json"]
    predicted(trained, photos[:1], out, overwrite=True)
    assert {x["image_id"] for x in json.loads((out / "coco_results.json").read_text())} == {"a"}


def test_arrays_of_an_image_are_written_if_asked_for(trained, photos, tmp_path):
    predicted(trained, photos[:1], tmp_path / "out", with_scores=True)
    arrays = np.load(tmp_path / "out" / "a_objects.npz")
    count = len(arrays["scores"])
    assert arrays["boxes"].shape == (count, 4)
    assert arrays["labels"].shape == (count,)
    assert arrays["box_masks"].shape == (count, 7, 7)


def test_a_detector_of_boxes_writes_no_masks_and_counts_classes_of_no_set_from_1(photos, tmp_path):
    graphdef, variables = split_for_evaluation(PixelDetector(with_masks=False))
    classes = type(CLASSES)(CLASSES.names)
    boxes = TrainedModel(graphdef, variables, classes, epath.Path("x.pth"))
    predicted(boxes, photos[:1], tmp_path / "out")
    for entry in json.loads((tmp_path / "out" / "coco_results.json").read_text()):
        assert entry["category_id"] in (1, 3)
        assert "segmentation" not in entry
    assert "mask" not in json.loads((tmp_path / "out" / "a_objects.json").read_text())[0]


def test_photographs_are_read_a_batch_at_a_time_for_two_programs_a_shape(
    trained, photos, monkeypatch, compilations
):
    config = small_config("")
    config.evaluation.batch_size = 3
    network = TrainedDetector(trained_as_pretrained(trained), config)
    read = []
    pixels = TrainedDetector.pixels
    monkeypatch.setattr(
        TrainedDetector, "pixels", lambda self, image: read.append(image) or pixels(self, image)
    )
    lying = [photos[0].path] * 8  # of one shape
    with compilations() as names:
        for number, _ in enumerate(network.detect(lying)):
            assert len(read) - number <= 2 * 3  # of a batch that is done, and one under way
        for few in (1, 2, 4, 5):
            assert len(network.results(lying[:few])) == few
    assert len([name for name in names if "objects" in name]) == 2, names
