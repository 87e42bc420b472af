"""Small jsons in COCO's format with their images, written to disk."""

import json
from pathlib import Path

import numpy as np

from gcnet_jax.data import encode_png
from gcnet_jax.tasks.detection.data import prepare_coco_json

CATEGORIES = ({"id": 7, "name": "cat"}, {"id": 3, "name": "dog"})
SIZE = (20, 30)
TRIANGLE = [2.0, 3.0, 14.5, 4.0, 6.0, 12.5]


def image(image_id, size=SIZE, name=None):
    return {
        "id": image_id,
        "file_name": name or f"{image_id}.png",
        "height": size[0],
        "width": size[1],
    }


def annotation(annotation_id, image_id=1, **changed):
    """One of a triangle; an entry that is changed to None is left out."""
    entries = {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": 7,
        "bbox": [2.0, 3.0, 12.5, 9.5],
        "area": 59.4,
        "iscrowd": 0,
        "segmentation": [TRIANGLE],
    }
    return {key: value for key, value in (entries | changed).items() if value is not None}


def document(annotations, images=None, categories=CATEGORIES):
    return {
        "info": {"of": "a test"},
        "annotations": annotations,
        "categories": list(categories),
        "images": [image(1), image(2)] if images is None else images,
    }


def write_image(path: Path, size=SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(path.name))
    encoded = encode_png(rng.integers(0, 256, (*size, 3), np.uint8))
    if not path.exists() or path.read_bytes() != encoded:  # whoever writes it anew changes it
        path.write_bytes(encoded)


def write(folder: Path, train, val=None) -> dict[str, Path]:
    """Writes both jsons and images 1 and 2; returns where they are, as `prepare_coco_json` asks."""
    folder.mkdir(parents=True, exist_ok=True)
    for image_id in (1, 2):
        write_image(folder / "images" / f"{image_id}.png")
    val = document([annotation(1)]) if val is None else val
    for name, content in (("train", train), ("val", val)):
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{name}.json").write_text(text)
    return {
        "train_json": folder / "train.json",
        "train_images": folder / "images",
        "val_json": folder / "val.json",
    }


def prepare_written(folder: Path, train, val=None, **options):
    """Prepares both jsons as the set `own` in the folder `data`."""
    options = {"allow_absent": True} | options
    return prepare_coco_json("own", folder / "data", **write(folder, train, val), **options)
