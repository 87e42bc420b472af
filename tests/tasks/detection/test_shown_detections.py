"""What is shown of an evaluation and while a run trains: which images, and how well seen."""

import html.parser
import json
import re

import cv2
import jax
import numpy as np
import pytest
from etils import epath

from gcnet_jax.data.picture_table import fitted
from gcnet_jax.models import split_for_evaluation
from gcnet_jax.parallel import InputShard, create_mesh, place, replicated
from gcnet_jax.tasks.detection.data import DATA_SETS, Annotations, decode, training_batches
from gcnet_jax.tasks.detection.evaluation.image_detections import FoundObjects
from gcnet_jax.tasks.detection.evaluation.image_scores import ImageScore, score_image
from gcnet_jax.tasks.detection.evaluation_files import ShownDetections
from gcnet_jax.tasks.detection.pictures import object_color
from gcnet_jax.tasks.detection.split_evaluation import DetectionEvaluator
from gcnet_jax.tasks.detection.training_pictures import TrainingPictures
from gcnet_jax.training.split_evaluation import count_batches
from tests.tasks.detection.data.annotated import CLASSES
from tests.tasks.detection.pixel_detector import (
    SIZES,
    PixelDetector,
    prepare_noise,
    small_config,
)

ALL = InputShard(0, 1)
CELL, GAP, LINE = 480, 6, 20  # of the pictures, in pixels


def found(boxes, classes, scores):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return FoundObjects(boxes, np.array(scores, np.float32), np.array(classes, np.int32), None)


def annotated(boxes, classes, crowds=()):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    flags = np.array([index in crowds for index in range(len(boxes))], bool)
    return Annotations(boxes, np.array(classes, np.int32), flags, boxes[:, 2:].prod(1), None)


A, NEAR_A, B, FAR = (10, 10, 20, 30), (12, 11, 20, 30), (50, 40, 40, 40), (0, 80, 5, 5)


@pytest.mark.parametrize(
    ("truth", "of_image", "expected"),
    [
        (annotated([A, B], [0, 1]), found([A, B], [0, 1], [0.9, 0.8]), (2, 0, 0)),
        (annotated([A, B], [0, 1]), found([A, B], [1, 1], [0.9, 0.8]), (1, 1, 1)),
        (annotated([A], [0]), found([NEAR_A, A], [0, 0], [0.9, 0.8]), (1, 0, 1)),
        (annotated([A, B], [0, 0]), found([A, FAR], [0, 0], [0.9, 0.2]), (1, 1, 0)),
        (annotated([A, B], [0, 0], crowds=(1,)), found([B, B, A], [0] * 3, [0.9] * 3), (1, 0, 0)),
        (annotated([B], [0], crowds=(0,)), found([FAR], [0], [0.9]), (0, 0, 1)),
        (annotated([], []), found([], [], []), (0, 0, 0)),
    ],
    ids=["all", "another class", "twice", "not sure", "in a crowd", "beside a crowd", "nothing"],
)
def test_objects_are_found_missed_or_wrong(truth, of_image, expected):
    score = score_image(truth, of_image, min_score=0.3)
    assert score == expected
    hits, missed, wrong = expected
    of_all = 2 * hits + missed + wrong
    assert score.f1 == (2 * hits / of_all if of_all else None)


def test_the_surest_box_takes_the_object_that_it_overlaps_most():
    truth = annotated([A, NEAR_A], [0, 0])
    score = score_image(truth, found([NEAR_A, A], [0, 0], [0.9, 0.8]), min_score=0.3)
    assert score == (2, 0, 0)


# Of an evaluation --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config(made_once):
    config = small_config(made_once("noise", prepare_noise))
    config.evaluation.batch_size, config.evaluation.split = 2, "val"
    config.training.pictures = 3
    return config


@pytest.fixture(scope="module")
def evaluated(config):
    """An evaluation, and what has looked on."""
    graphdef, variables = split_for_evaluation(PixelDetector())
    mesh = create_mesh(jax.devices()[:1])
    variables = place(variables, jax.tree.map(lambda _: replicated(mesh), variables))
    evaluator = DetectionEvaluator(config, CLASSES, graphdef, mesh, split="val")
    looks = []

    def run(*observers, shard=ALL):
        def look(*of_batch):
            looks.append(of_batch)
            for observer in observers:
                observer.look(*of_batch)

        counts = count_batches(evaluator, variables, evaluator.batches(shard), look=look)
        if shard != ALL:
            return None
        evaluation = evaluator.evaluated(
            counts,
            dataset="made_up",
            split="val",
            images=len(SIZES),
            inference=evaluator.inference,
            settings=evaluator.settings,
        )
        return evaluation.of_checkpoint(epath.Path("x.pth"))

    return run


def test_images_from_all_over_and_the_worst_are_shown(config, evaluated):
    shown, everything = (ShownDetections(config, "val", ALL, count=n) for n in (3, len(SIZES)))
    evaluated(shown, everything)
    assert [image.name for image in shown.spread()] == ["0.png", "2.png", "4.png"]
    scores = {image.name: image.score for image in everything.spread()}
    assert len(scores) == len(SIZES)
    ranked = sorted(
        (score.f1, -score.missed - score.wrong, name)
        for name, score in scores.items()
        if score.f1 is not None
    )
    assert len({rank[:2] for rank in ranked}) > 2
    assert [image.name for image in shown.worst()] == [name for *_, name in ranked[:3]]
    for image in shown.worst():
        record = DATA_SETS.open_split("made_up", config.data.data_dir, "val")[int(image.name[0])]
        np.testing.assert_array_equal(image.image, decode(record)["image"])
        assert isinstance(image.score, ImageScore)


def test_each_process_shows_its_own_part(config, evaluated):
    names = []
    for index in (0, 1):
        shard = InputShard(index, 2)
        shown = ShownDetections(config, "val", shard, count=len(SIZES))
        evaluated(shown, shard=shard)
        assert shown.available == len(shown.spread()) < len(SIZES)
        names += [image.name for image in shown.spread()]
    assert sorted(names) == [f"{index}.png" for index in range(len(SIZES))]


class Text(html.parser.HTMLParser):
    """The text of a page, and how many pictures it has."""

    def __init__(self, page):
        super().__init__()
        self.text, self.pictures = "", 0
        self.feed(page)

    def handle_data(self, data):
        self.text += data

    def handle_starttag(self, tag, attrs):
        self.pictures += tag == "img"


def test_an_evaluation_leaves_pictures_and_a_page_that_needs_no_other_file(
    config, evaluated, tmp_path
):
    shown = ShownDetections(config, "val", ALL, count=2)
    evaluation = evaluated(shown)
    folder = epath.Path(tmp_path)
    picture, report = folder / "evaluation_val.png", folder / "report_val.html"
    shown.write(evaluation, config, picture=picture, report=report, command="gcnet evaluate x")
    assert sorted(path.name for path in folder.iterdir()) == [
        "evaluation_val.png",
        "evaluation_val_coco_results.json",
        "evaluation_val_precision_recall.png",
        "report_val.html",
    ]
    assert read(folder / "evaluation_val_precision_recall.png").shape == (500, 1200, 3)
    assert json.loads((folder / "evaluation_val_coco_results.json").read_text())
    assert {*shown.endings} == {".png", "_coco_results.json", "_precision_recall.png"}
    assert read(picture).shape[1] == 2 * (CELL + GAP) + GAP
    page = Text(report.read_text())
    assert page.pictures == 2 + 2 * (2 + 2)
    for kind in ("box", "mask"):
        assert f"{100 * evaluation.summary[f'{kind} AP50']:.1f}{kind} AP50" in page.text
    assert "-box APl" in page.text  # no object is large
    assert "0 cat" in page.text
    assert "dog" not in page.text.split("How to repeat it")[1].split("The whole config")[0]
    assert "gcnet evaluate x" in page.text
    assert not re.search(r'(src|href)="(?!data:|#)', report.read_text())
    json.dumps(evaluation.to_plain(), allow_nan=False)


# While a run trains ------------------------------------------------------------------------------


def read(path):
    return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_a_run_leaves_its_first_batch_and_the_same_images_after_each_evaluation(
    config, evaluated, tmp_path
):
    config = config.copy_and_resolve_references()
    config.training.batch_size, config.data.num_workers = 2, 0
    shown = []
    with TrainingPictures(
        config, CLASSES, epath.Path(tmp_path), ALL, lambda *of: shown.append(of)
    ) as pictures:
        batch = next(training_batches(config, ALL))
        pictures.first_batch(batch)
        for step in (4, 8):
            evaluated(pictures)
            pictures.evaluated(step)
        pictures.finish()
    assert [of[:2] for of in shown] == [
        (1, "train/first_batch"),
        (4, "val/examples"),
        (8, "val/examples"),
    ]
    files = [tmp_path / "pictures" / f"step_00000{step}.png" for step in (4, 8)]
    assert files[0].read_bytes() == files[1].read_bytes()
    first = read(tmp_path / "pictures" / "first_batch.png")
    image = fitted(batch["image"][0][: batch["size"][0, 0], : batch["size"][0, 1]], CELL)
    height, width = image.shape[:2]
    top, left = 2 * LINE, GAP
    np.testing.assert_array_equal(first[top : top + height, left : left + width], image)
    beside = first[top : top + height, left + CELL + GAP :][:, :width].astype(int)
    # Where the mask of the first object is, its colour is in the picture.
    box = batch["boxes"][0, 0] * (height / batch["size"][0, 0])
    row, column = int(box[[1, 3]].mean()), int(box[[0, 2]].mean())
    assert batch["valid"][0, 0]
    expected = (image[row, column].astype(int) + object_color(0)) / 2
    np.testing.assert_allclose(beside[row, column], expected, atol=1)


def test_no_pictures_are_made_if_none_are_wanted(config, evaluated, tmp_path):
    config = config.copy_and_resolve_references()
    config.training.pictures = 0
    with TrainingPictures(config, CLASSES, epath.Path(tmp_path), ALL, print) as pictures:
        evaluated(pictures)
        pictures.evaluated(4)
    assert not (tmp_path / "pictures").exists()
