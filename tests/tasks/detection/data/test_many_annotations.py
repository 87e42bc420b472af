"""What a json of as many annotations as COCO's takes."""

import json
import resource
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from etils import epath

from gcnet_jax.config import MAX_IMAGE_PIXELS
from gcnet_jax.tasks.detection.data import DATA_SETS, prepare_coco_json
from gcnet_jax.tasks.detection.data.sources.coco_files import Checks, CocoFiles, find_examples
from tests.tasks.detection.data.coco_written import annotation, document, image
from tests.tasks.detection.data.many_annotations import HEIGHT, WIDTH, write_many

TRAIN2017 = {"images": 118_287, "annotations": 860_001}


def find(folder: Path):
    files = CocoFiles(epath.Path(folder / "many.json"), epath.Path(folder / "images"))
    return find_examples({"train": files}, Checks(MAX_IMAGE_PIXELS)).examples["train"]


def test_an_annotation_takes_some_hundred_bytes_of_memory(tmp_path):
    images, annotations = 20, 2500
    write_many(tmp_path, images, annotations)
    length = (tmp_path / "many.json").stat().st_size
    find(tmp_path)  # what is imported and compiled once
    tracemalloc.start()
    try:
        examples = find(tmp_path)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(examples) == images
    assert length > 500 * annotations  # as COCO's
    # The text of a few chunks comes to it while the file is read, however long that is.
    assert held < 600 * annotations
    assert peak < held + 6 * (1 << 20)


def measure(folder: str):
    """Prints what preparing takes in a process of its own."""
    source, start = Path(folder), time.monotonic()
    prepare_coco_json(
        "many",
        source / "data",
        train_json=source / "many.json",
        train_images=source / "images",
        val_json=source / "val.json",
    )
    found = {"seconds": time.monotonic() - start}
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    counts = DATA_SETS.counts("many", source / "data", "train")
    found["images"], found["objects"] = len(counts.trainable), counts.total
    found["most"] = counts.most
    print(json.dumps(found))


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_as_many_annotations_as_cocos_are_prepared_in_4_gb(root, tmp_path):
    write_many(tmp_path, **TRAIN2017)
    categories = [{"id": i, "name": f"class {i}"} for i in range(1, 81)]
    val = document([annotation(1)], [image(1, (HEIGHT, WIDTH), "0/0.jpg")], categories)
    (tmp_path / "val.json").write_text(json.dumps(val))
    module = ".".join(Path(__file__).relative_to(root).with_suffix("").parts)
    code = f"from {module} import measure; measure({str(tmp_path)!r})"
    output = subprocess.check_output([sys.executable, "-c", code], cwd=root, text=True)
    found = json.loads(output)
    print((tmp_path / "many.json").stat().st_size, found)
    assert found["images"] == TRAIN2017["images"]
    assert found["objects"] > 0.99 * TRAIN2017["annotations"]
    assert found["peak"] < 4e9
