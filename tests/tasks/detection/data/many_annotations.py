"""A json in COCO's format as large as that of `train2017`, with an image file for each entry."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 480, 640
_DIFFERENT = 4000  # annotations, of which the others are copies with other ids
_FILES_IN_A_FOLDER = 10_000


def _polygon(rng: np.random.Generator) -> np.ndarray:
    """Corners on a wavy ring, as many as COCO's outlines have: 25 on average."""
    corners = int(np.clip(rng.gamma(2, 12), 4, 200))
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radius = np.clip(rng.lognormal(3.6, 0.8), 4, 220)
    ring = radius * (1 + 0.3 * rng.uniform(-1, 1, corners))
    centre = rng.uniform([0, 0], [WIDTH, HEIGHT])
    points = centre + ring[:, None] * np.stack([np.cos(angles), np.sin(angles)], -1)
    return np.clip(points, 0, [WIDTH, HEIGHT]).round(2)


def _bodies() -> list[str]:
    """The entries of annotations but for their ids, as JSON."""
    rng = np.random.default_rng(0)
    bodies = []
    for _ in range(_DIFFERENT):
        polygons = [_polygon(rng) for _ in range(1 + (rng.random() < 0.2))]
        points = np.concatenate(polygons)
        low, high = points.min(0), points.max(0)
        entries = {
            "segmentation": [polygon.reshape(-1).tolist() for polygon in polygons],
            "area": round(float((high - low).prod()) * 0.6 + 1, 4),
            "iscrowd": 0,
            "bbox": [*low.tolist(), *(high - low).round(2).tolist()],
            "category_id": int(rng.integers(1, 81)),
        }
        bodies.append(json.dumps(entries)[1:])
    return bodies


def _entries(images: int, annotations: int) -> Iterator[str]:
    yield '{"images": [\n'
    for i in range(images):
        name = f"{i // _FILES_IN_A_FOLDER}/{i}.jpg"
        image = {"id": i, "file_name": name, "height": HEIGHT, "width": WIDTH}
        yield (",\n" if i else "") + json.dumps(image)
    yield '],\n"annotations": [\n'
    bodies = _bodies()
    of_images = np.random.default_rng(1).integers(0, images, annotations)
    for i, image in enumerate(of_images.tolist()):
        yield (",\n" if i else "") + f'{{"id": {i}, "image_id": {image}, {bodies[i % _DIFFERENT]}'
    categories = [{"id": i, "name": f"class {i}"} for i in range(1, 81)]
    yield f'],\n"categories": {json.dumps(categories)}}}\n'


def write_many(folder: Path, images: int, annotations: int) -> None:
    """Writes `many.json` and its images, which are links to a few files."""
    (folder / "images").mkdir(parents=True)
    first = folder
    for i in range(images):
        path = folder / "images" / str(i // _FILES_IN_A_FOLDER) / f"{i}.jpg"
        if i % _FILES_IN_A_FOLDER == 0:
            path.parent.mkdir()
            Image.new("RGB", (WIDTH, HEIGHT), "grey").save(path, "JPEG")
            first = path
        else:  # a file has some 65,000 names at most
            os.link(first, path)
    with (folder / "many.json").open("w") as file:
        file.writelines(_entries(images, annotations))
