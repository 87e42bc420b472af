"""What an evaluation detects, as a file that COCO's own tools take."""

import json

import jax
import pytest
from etils import epath
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from gcnet_jax.models import split_for_evaluation
from gcnet_jax.parallel import InputShard, create_mesh
from gcnet_jax.tasks.detection.coco_results import write_entries
from gcnet_jax.tasks.detection.data import DATA_SETS, prepare_coco_json
from gcnet_jax.tasks.detection.split_evaluation import DetectionEvaluator
from gcnet_jax.training.split_evaluation import count_batches
from tests.tasks.detection.data.annotated import CLASSES
from tests.tasks.detection.pixel_detector import PixelDetector, noise_examples, small_config


def write_noise(folder):
    """Images of noise and a json of them, whose ids are none that anybody would count."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number, example in enumerate(noise_examples()):
        loaded = example.load()
        (folder / "images" / example.name).write_bytes(loaded.encoded)
        height, width = example.size
        image_id = 900 - 7 * number
        images.append({"id": image_id, "file_name": example.name, "height": height, "width": width})
        objects = zip(*example.annotations, strict=True)
        for box, label, crowd, area, mask in objects:
            annotations.append(
                {
                    "id": 10 + len(annotations),
                    "image_id": image_id,
                    "category_id": CLASSES.category_ids[label],
                    "bbox": box.tolist(),
                    "area": float(area),
                    "iscrowd": int(crowd),
                    "segmentation": {"size": [*example.size], "counts": mask.decode()},
                }
            )
    categories = [
        {"id": category_id, "name": name}
        for category_id, name in zip(CLASSES.category_ids, CLASSES.names, strict=True)
    ]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "noise.json").write_text(json.dumps(document))
    return folder / "noise.json"


def test_pycocotools_finds_the_printed_figures_in_the_sets_own_json_and_the_results(tmp_path):
    annotated = write_noise(tmp_path)
    files = {"train_json": annotated, "val_json": annotated, "train_images": tmp_path / "images"}
    prepare_coco_json("noise", tmp_path / "data", **files, allow_absent=True)
    config = small_config(tmp_path / "data", name="noise")
    config.evaluation.batch_size = 3
    graphdef, variables = split_for_evaluation(PixelDetector())
    classes = DATA_SETS.meaning("noise", tmp_path / "data")
    evaluator = DetectionEvaluator(
        config, classes, graphdef, create_mesh(jax.devices()[:1]), split="val"
    )
    counts = count_batches(evaluator, variables, evaluator.batches(InputShard(0, 1)))
    evaluation = evaluator.evaluated(
        counts, dataset="noise", split="val", images=7, inference="", settings={}
    )
    results = epath.Path(tmp_path / "results.json")
    write_entries(results, evaluation.coco_results())

    truth = COCO(str(annotated))
    found = truth.loadRes(str(results))
    for kind, overlap in (("box", "bbox"), ("mask", "segm")):
        theirs = COCOeval(truth, found, overlap)
        theirs.evaluate()
        theirs.accumulate()
        theirs.summarize()
        figures = dict(zip(("AP", "AP50", "AP75"), theirs.stats[:3].tolist(), strict=True))
        for name, value in figures.items():
            assert evaluation.summary[f"{kind} {name}"] == pytest.approx(value, abs=1e-9)
        assert 0 < figures["AP"] < 1


def test_nothing_detected_is_an_empty_list(tmp_path):
    path = epath.Path(tmp_path / "results.json")
    write_entries(path, iter(()))
    assert json.loads(path.read_text()) == []
