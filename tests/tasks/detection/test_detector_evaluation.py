"""Detections of a split, compared with what is annotated, against each image by itself."""

import json

import jax
import numpy as np
import pytest
import rich.console

from gcnet_jax.data import rescaled_size, resize_image
from gcnet_jax.errors import InputError
from gcnet_jax.models import split_for_evaluation
from gcnet_jax.ops import normalize_images
from gcnet_jax.parallel import InputShard, create_mesh, place, replicated
from gcnet_jax.tasks.detection.data import (
    DATA_SETS,
    Annotations,
    annotations_of,
    counts_of,
    decode,
)
from gcnet_jax.tasks.detection.detector import Detections
from gcnet_jax.tasks.detection.evaluation import collecting, union
from gcnet_jax.tasks.detection.evaluation.average_precision import average_precision
from gcnet_jax.tasks.detection.evaluation.image_detections import ImageDetections
from gcnet_jax.tasks.detection.evaluation.union import (
    checked_union,
    of_all_processes,
    packed,
    unpacked,
)
from gcnet_jax.tasks.detection.regions.pasting_on_host import paste_on_host
from gcnet_jax.tasks.detection.split_evaluation import DetectionEvaluator
from gcnet_jax.training.split_evaluation import count_batches
from tests.tasks.detection.data.annotated import CLASSES
from tests.tasks.detection.narrow_detector import CLASSES as NARROW_CLASSES
from tests.tasks.detection.narrow_detector import narrow_detector
from tests.tasks.detection.pixel_detector import (
    SIZES,
    PixelDetector,
    prepare_noise,
    small_config,
)

ABOUT = {
    "dataset": "made_up",
    "split": "val",
    "images": len(SIZES),
    "inference": "resized",
    "settings": {},
}


@pytest.fixture(scope="module")
def noise_dir(made_once):
    return made_once("noise", prepare_noise)


@pytest.fixture(scope="module")
def boxes_dir(made_once):
    return made_once("noise_boxes", lambda folder: prepare_noise(folder, has_masks=False))


def evaluator_of(data_dir, *, devices=1, batch_size=3, max_buckets=4, model=None):
    config = small_config(data_dir)
    config.evaluation.batch_size, config.evaluation.max_buckets = batch_size, max_buckets
    graphdef, variables = split_for_evaluation(model or PixelDetector())
    mesh = create_mesh(jax.devices()[:devices])
    variables = place(variables, jax.tree.map(lambda _: replicated(mesh), variables))
    return DetectionEvaluator(config, CLASSES, graphdef, mesh, split="val"), variables


def evaluation_of(data_dir, **options):
    evaluator, variables = evaluator_of(data_dir, **options)
    counts = count_batches(evaluator, variables, evaluator.batches(InputShard(0, 1)))
    return evaluator.evaluated(counts, **ABOUT)


def alone(data_dir, *, masks=True):
    """What is annotated and what is detected, of each image by itself, with no batch."""
    annotated, detected = [], []
    for index, record in enumerate(DATA_SETS.open_split("made_up", data_dir, "val")):
        image, size = decode(record)["image"], SIZES[index]
        seen = rescaled_size(size, (96, 64))
        pixels = normalize_images(resize_image(image, seen)[None])
        found = jax.tree.map(lambda x: np.asarray(x[0]), PixelDetector()(pixels, np.array([seen])))
        scale = np.float32([seen[1] / size[1], seen[0] / size[0]] * 2)
        boxes = found.boxes[found.valid] / scale
        of_image = [
            counts_of(paste_on_host(mask, box, size))
            for mask, box in zip(found.masks[found.valid], boxes, strict=True)
        ]
        annotated.append(annotations_of(record))
        detected.append(
            ImageDetections(
                index,
                size,
                boxes,
                found.scores[found.valid],
                found.classes[found.valid],
                tuple(of_image) if masks else None,
            )
        )
    return annotated, detected


@pytest.fixture(scope="module")
def expected(noise_dir):
    annotated, detected = alone(noise_dir)
    return {
        kind: average_precision(annotated, detected, num_classes=3, kind=kind)
        for kind in ("box", "mask")
    }


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 1, "max_buckets": 1},
        {"batch_size": 3, "max_buckets": 4},
        {"batch_size": 4, "devices": 4, "max_buckets": 2},
    ],
    ids=str,
)
def test_figures_are_those_of_each_image_alone_in_whatever_batches(noise_dir, expected, options):
    evaluation = evaluation_of(noise_dir, **options)
    for kind, of_kind in expected.items():
        np.testing.assert_array_equal(
            list(evaluation.precision[kind].figures.values()), list(of_kind.figures.values())
        )
        np.testing.assert_array_equal(evaluation.precision[kind].curves, of_kind.curves)
    assert 0 < evaluation.summary["box AP50"] < 1
    assert expected["box"].figures["AR100"] != expected["mask"].figures["AR100"]
    assert evaluation.objects.tolist()[1] == 0 < evaluation.objects.sum() == 9 - 1


def test_two_hosts_have_together_what_one_has(noise_dir):
    evaluator, variables = evaluator_of(noise_dir, batch_size=4)

    def detections_of(index, hosts):
        counts = count_batches(evaluator, variables, evaluator.batches(InputShard(index, hosts)))
        part, detections = unpacked(packed(counts.finish(), index))
        assert part == index
        return detections

    parts = [detections_of(index, 2) for index in (0, 1)]
    assert all(0 < len(part) < len(SIZES) for part in parts)
    together = checked_union(parts[::-1], count=len(SIZES), name=str)
    one_host = checked_union([detections_of(0, 1)], count=len(SIZES), name=str)
    _, detected = alone(noise_dir)
    for ours, of_one, theirs in zip(together, one_host, detected, strict=True):
        assert ours.index == of_one.index == theirs.index
        assert ours.size == of_one.size == theirs.size
        assert ours.masks == of_one.masks
        for name in ("boxes", "scores", "classes"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(of_one, name))
            # Out of a batch nothing is compiled as one program, which may round otherwise.
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-6)
    missing = min({*range(len(SIZES))} - {image.index for image in parts[0]})
    with pytest.raises(InputError, match=rf"were not evaluated, such as '{missing}\.png'"):
        checked_union(parts[:1], count=len(SIZES), name=evaluator._name)
    with pytest.raises(InputError, match=f"were evaluated twice, such as {parts[1][0].index}, "):
        checked_union([*parts, parts[1]], count=len(SIZES), name=str)
    with pytest.raises(InputError, match="not among its 3"):
        checked_union(parts, count=3, name=str)


def test_of_processes_that_share_images_the_first_counts(noise_dir, monkeypatch):
    _, detected = alone(noise_dir)
    parts = detected[::2], detected[1::2]
    of_processes = [packed(parts[part], part) for part in (0, 0, 1, 1)]
    monkeypatch.setattr(union, "gather_bytes", lambda own: [own, *of_processes[1:]])
    together = of_all_processes(parts[0], InputShard(0, 2), count=len(SIZES), name=str)
    assert [image.index for image in together] == [*range(len(SIZES))]
    assert [image.masks for image in together] == [image.masks for image in detected]


def test_batches_that_devices_work_on_are_left_alone(monkeypatch):
    read = []
    monkeypatch.setattr(collecting, "rows_here", lambda array: read.append(array) or array)
    collector = collecting.DetectionCollector(with_masks=False, mask_threshold=0.5)
    for number in range(6):
        rows = np.zeros((2, 3))
        found = Detections(np.zeros((2, 3, 4)), rows, rows.astype(int), rows.astype(bool), None)
        sizes = np.full((2, 2), 32)
        collector.add(found, index=np.array([number, -1]), seen=sizes, size=sizes)
        assert len(read) == 4 * max(number - 2, 0)
    assert [image.index for image in collector.finish()] == [*range(6)]


def test_a_set_of_boxes_alone_has_no_figures_of_masks(boxes_dir):
    evaluation = evaluation_of(boxes_dir)
    assert set(evaluation.precision) == {"box"}
    annotated, detected = alone(boxes_dir, masks=False)
    of_boxes = average_precision(annotated, detected, num_classes=3, kind="box")
    assert evaluation.precision["box"].figures == pytest.approx(of_boxes.figures, nan_ok=True)


def test_a_network_without_masks_has_no_figures_of_masks(noise_dir):
    evaluator, variables = evaluator_of(noise_dir, model=PixelDetector(with_masks=False))
    evaluator.config.model.mask_head.enabled = False
    counts = count_batches(evaluator, variables, evaluator.batches(InputShard(0, 1)))
    assert set(evaluator.evaluated(counts, **ABOUT).precision) == {"box"}


def test_what_there_are_no_objects_for_is_null_and_a_dash_and_is_not_logged(noise_dir):
    evaluation = evaluation_of(noise_dir)
    plain = json.loads(json.dumps(evaluation.to_plain(), allow_nan=False))
    assert plain["summary"]["box APl"] is None
    assert plain["classes"]["dog"] == {
        "objects": 0,
        **{f"{kind} {x}": None for kind in ("box", "mask") for x in ("AP", "AP50", "AP75")},
    }
    assert plain["summary"]["mask AP"] == evaluation.summary["mask AP"]
    assert len(plain["precision_by_recall"]["mask"]["0.5"]) == 101
    scores = evaluation.scores()
    assert next(iter(scores.metrics)) == "box AP"
    assert "box APl" not in scores.metrics
    assert {*scores.parts} == {f"{k} AP/{name}" for k in ("box", "mask") for name in ("cat", "cow")}
    console = rich.console.Console(width=150, record=True)
    console.print(evaluation.table())
    text = console.export_text()
    large = next(line for line in text.splitlines() if "large" in line)
    assert large.count("-") == 2
    assert "dog" not in text
    ap = f"{100 * evaluation.summary['box AP']:.1f}"
    assert any("all" in line and ap in line for line in text.splitlines())


def test_settings_name_what_figures_hang_on(noise_dir):
    evaluator, _ = evaluator_of(noise_dir)
    settings = evaluator.settings
    assert settings["base_scale"] == [96, 64]
    assert settings["detections"]["score_threshold"] == 0.05
    assert settings["proposals"]["nms_pre"] == 1000


def test_a_split_without_objects_is_refused(noise_dir):
    evaluation = evaluation_of(noise_dir)
    object.__setattr__(evaluation, "objects", np.zeros(3, int))
    with pytest.raises(InputError, match="no object of split 'val' of made_up is annotated"):
        evaluation.check()


@pytest.mark.campaign
def test_a_network_has_the_same_figures_in_whatever_batches(noise_dir):
    detected = []
    for options in ({"batch_size": 1, "max_buckets": 1}, {"batch_size": 3, "max_buckets": 2}):
        evaluator, variables = evaluator_of(noise_dir, model=narrow_detector(), **options)
        counts = count_batches(evaluator, variables, evaluator.batches(InputShard(0, 1)))
        detected.append(counts.finish())
    annotated = [as_annotated(image) for image in detected[0]]  # nearly all is found
    for kind, least in (("box", 0.9), ("mask", 0.8)):
        one, other = (
            average_precision(annotated, each, num_classes=NARROW_CLASSES, kind=kind).figures
            for each in detected
        )
        assert one["AP"] > least
        assert other == pytest.approx(one, nan_ok=True)


def as_annotated(image):
    lengths = image.boxes[:, 2:] - image.boxes[:, :2]
    boxes = np.concatenate([image.boxes[:, :2], lengths], 1)
    crowds = np.zeros(len(boxes), bool)
    return Annotations(boxes, image.classes, crowds, lengths.prod(1), image.masks)
