"""A generated evaluation, as large as is wanted: how long it takes on the host, and in what memory.

    PYTHONPATH=. python tests/tasks/detection/many_detections.py 5000

takes 100 detections with masks in each of 5,000 images of 480x640 off the device, as a network of
80 classes would leave them, and compares them with seven annotated objects an image. Prints JSON.
"""

import json
import resource
import sys
import time

import jax.numpy as jnp
import numpy as np

from gcnet_jax.tasks.detection.data import Annotations
from gcnet_jax.tasks.detection.detector import Detections
from gcnet_jax.tasks.detection.evaluation.average_precision import average_precision
from gcnet_jax.tasks.detection.evaluation.collecting import DetectionCollector
from gcnet_jax.tasks.detection.evaluation.image_detections import FoundObjects, ImageDetections

SIZE, SEEN, SIDE, CLASSES = (480, 640), (800, 1067), 28, 80
BATCH, DETECTIONS, OBJECTS, CLASSES_OF_IMAGE = 8, 100, 7, 3


def measure(images):
    """Evaluates generated detections in so many images.

    Returns:
        Seconds of the processor by part, the most memory by the end of each, and figures.
    """
    parts, memory = {}, {}
    collector = DetectionCollector(with_masks=True, mask_threshold=0.5)
    clock = time.process_time()
    annotated, made = [], 0.0
    for first in range(0, images, BATCH):
        before = time.process_time()
        index = np.arange(first, first + BATCH, dtype=np.int32)
        index[index >= images] = -1
        scenes = [_Scene(i) for i in index.tolist()]
        annotated += [
            scene.annotations(i) for scene, i in zip(scenes, index, strict=True) if i >= 0
        ]
        batch = Detections(*(jnp.stack(x) for x in zip(*(s.found() for s in scenes), strict=True)))
        made += time.process_time() - before
        collector.add(
            batch, index=index, seen=np.tile(SEEN, (BATCH, 1)), size=np.tile(SIZE, (BATCH, 1))
        )
    detected = collector.finish()
    parts["taken off the device and encoded"] = time.process_time() - clock - made
    memory["detections"] = _memory()
    found = {}
    for kind in ("box", "mask"):
        clock = time.process_time()
        found[kind] = average_precision(annotated, detected, num_classes=CLASSES, kind=kind)
        parts[f"average precision of {kind}"] = time.process_time() - clock
        memory[f"average precision of {kind}"] = _memory()
    number = sum(len(image.scores) for image in detected)
    return {
        "images": images,
        "detections": number,
        "seconds": parts,
        "microseconds a detection": 1e6 * parts["taken off the device and encoded"] / number,
        "bytes of masks a detection": sum(len(m) for x in detected for m in x.masks) / number,
        "peak GiB by the end": memory,
        "AP": {kind: of_kind.figures["AP"] for kind, of_kind in found.items()},
    }


def _memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class _Scene:
    """An image with objects, and what a network might find in it."""

    def __init__(self, seed):
        self._rng = rng = np.random.default_rng(max(seed, 0))
        lengths = np.exp(rng.uniform(np.log(10), np.log(300), (OBJECTS, 2)))
        corners = rng.uniform(0, 1, (OBJECTS, 2)) * np.maximum([SIZE[1], SIZE[0]] - lengths, 0)
        self.boxes = np.concatenate([corners, corners + lengths], 1).astype(np.float32)
        of_image = rng.integers(0, CLASSES, CLASSES_OF_IMAGE)
        self.classes = rng.choice(of_image, OBJECTS).astype(np.int32)
        distance = np.hypot(*np.mgrid[-1 : 1 : 1j * SIDE, -1 : 1 : 1j * SIDE])
        self._blob = np.clip(1.5 - distance, 0, 1).astype(np.float32)

    def annotations(self, index):
        blobs = np.repeat(self._blob[None], OBJECTS, 0)
        objects = FoundObjects(self.boxes, np.ones(OBJECTS), self.classes, blobs)
        made = ImageDetections.of(objects, int(index), size=SIZE, mask_threshold=0.5)
        corners, ends = self.boxes[:, :2], self.boxes[:, 2:]
        boxes = np.concatenate([corners, ends - corners], 1)
        crowds = np.zeros(OBJECTS, bool)
        return Annotations(boxes, self.classes, crowds, boxes[:, 2:].prod(1), made.masks)

    def found(self):
        """Rows of `Detections`, in pixels as the network sees the image."""
        rng = self._rng
        near = rng.integers(0, OBJECTS, DETECTIONS)
        boxes = self.boxes[near] + rng.normal(0, 6, (DETECTIONS, 4))
        boxes *= [SEEN[1] / SIZE[1], SEEN[0] / SIZE[0]] * 2
        right = rng.uniform(size=DETECTIONS) < 0.6
        classes = np.where(right, self.classes[near], rng.integers(0, CLASSES, DETECTIONS))
        noise = rng.normal(0, 0.1, (DETECTIONS, SIDE, SIDE))
        return (
            boxes.astype(np.float32),
            np.sort(rng.beta(0.5, 2, DETECTIONS).astype(np.float32))[::-1],
            classes.astype(np.int32),
            np.ones(DETECTIONS, bool),
            np.clip(self._blob + noise, 0, 1).astype(np.float32),
        )


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1])), indent=2))
