"""How a detector is evaluated on a split of a data set, and what comes of it."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import rich.table
import rich.text
from flax import nnx
from jaxtyping import Array, Int, Int32, PyTree, UInt8

from gcnet_jax.config import to_plain
from gcnet_jax.errors import InputError
from gcnet_jax.models import merge
from gcnet_jax.ops import normalize_images
from gcnet_jax.parallel import (
    InputShard,
    batch_sharding,
    compile_for,
    input_shard,
    on_each_device,
    shard_batch,
)
from gcnet_jax.task import Evaluated, Evaluator, Scores
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.coco_results import category_ids, result_entry
from gcnet_jax.tasks.detection.data import (
    DATA_SETS,
    Annotations,
    EvaluationBatch,
    annotations_of,
    evaluation_batches,
)
from gcnet_jax.tasks.detection.detector import Detections
from gcnet_jax.tasks.detection.evaluation.average_precision import (
    AveragePrecision,
    Kind,
    average_precision,
)
from gcnet_jax.tasks.detection.evaluation.collecting import DetectionCollector
from gcnet_jax.tasks.detection.evaluation.image_detections import ImageDetections
from gcnet_jax.tasks.detection.evaluation.union import of_all_processes

BY_CLASS = ("AP", "AP50", "AP75")
"""The figures of each class in tables."""
_SIZES = {"small": "APs", "medium": "APm", "large": "APl"}
_CURVES = {"0.5": 0.5, "0.75": 0.75, "0.5 to 0.95": None}
_MOST_ROWS = 100  # classes in a table


@dataclasses.dataclass(frozen=True)
class Evaluation(Evaluated):
    """What came of evaluating a detector on a split, see `Evaluated`.

    Attributes:
        classes: of the detector and the data set.
        objects: how many objects of each class are annotated, crowds left out.
        precision: average precision of boxes, and of masks where the detector finds them and the
            data set has them.
        detected: in each image of the split.
        image_ids: what the data set calls each image.
        category_ids: what it calls each class.
    """

    classes: ObjectClasses
    objects: Int[np.ndarray, " classes"]
    precision: dict[Kind, AveragePrecision]
    detected: Sequence[ImageDetections]
    image_ids: Sequence[int]
    category_ids: Sequence[int]

    @property
    def summary(self) -> dict[str, float]:
        """`box AP`, `box AP50` and so on, `mask AP` and so on, from 0 to 1.

        What no object is annotated for, such as `box APl` without large ones, is left out.
        """
        return {name: value for name, value in self._all_figures().items() if not np.isnan(value)}

    def scores(self) -> Scores:
        """What a run logs of it: the figures of all classes together, and the AP of each."""
        by_class = {
            f"{kind} AP/{name}": float(value)
            for kind, found in self.precision.items()
            for name, value in zip(self.classes.names, found.by_class["AP"], strict=True)
            if not np.isnan(value)
        }
        return Scores(self.summary, by_class)

    def check(self) -> None:
        """Raises InputError if no object of the split is annotated."""
        super().check()
        if not self.objects.any():
            raise InputError(
                f"no object of split '{self.split}' of {self.dataset} is annotated: there is "
                "nothing to evaluate; name another with --split"
            )

    def table(self) -> rich.table.Table:
        """One row a class, that of the lowest AP first, then all, and by size; in percent."""
        table = rich.table.Table(title=rich.text.Text(self.title))
        table.add_column("class")
        for heading in ("objects", *(f"{kind} {x}" for kind in self.precision for x in BY_CLASS)):
            table.add_column(heading, justify="right")
        shown = self.lowest_first()
        for index in shown[:_MOST_ROWS]:
            values = [found.by_class[x][index] for found, x in self._columns()]
            name = rich.text.Text(self.classes.names[index])
            table.add_row(name, str(self.objects[index]), *map(as_percent, values))
        if len(shown) > _MOST_ROWS:
            table.caption = f"{len(shown) - _MOST_ROWS} classes more are in the JSON file"
        table.add_section()
        figures = [found.figures[x] for found, x in self._columns()]
        table.add_row("all", str(self.objects.sum()), *map(as_percent, figures))
        for size, name in _SIZES.items():
            cells = [[as_percent(found.figures[name]), "", ""] for found in self.precision.values()]
            table.add_row(size, "", *(cell for of_kind in cells for cell in of_kind))
        return table

    def lowest_first(self) -> list[int]:
        """The classes that objects are annotated of, that of the lowest AP of boxes first."""
        there = np.flatnonzero(self.objects)
        order = np.argsort(self.precision["box"].by_class["AP"][there], kind="stable")
        return there[order].tolist()

    def found(self) -> dict[str, Any]:
        """The figures, null where no object is annotated for one, as plain JSON."""
        kinds = self.precision.items()
        by_class = {
            name: {
                "objects": int(self.objects[index]),
                **{
                    f"{kind} {x}": _or_null(found.by_class[x][index])
                    for kind, found in kinds
                    for x in BY_CLASS
                },
            }
            for index, name in enumerate(self.classes.names)
        }
        recalls = {f"{k} {x}": value for k, f in kinds for x, value in f.average_recalls.items()}
        curves = {
            kind: {x: list(map(_or_null, found.curve(at))) for x, at in _CURVES.items()}
            for kind, found in kinds
        }
        return {
            "summary": {name: _or_null(value) for name, value in self._all_figures().items()},
            "recall": {name: _or_null(value) for name, value in recalls.items()},
            "classes": by_class,
            "precision_by_recall": {
                "recall": self.precision["box"].recalls.tolist(),
                **curves,
            },
        }

    def _all_figures(self) -> dict[str, float]:
        return {
            f"{kind} {name}": value
            for kind, found in self.precision.items()
            for name, value in found.precisions.items()
        }

    def coco_results(self) -> Iterator[bytes]:
        """Yields a line for each object that is detected, see `coco_results.result_entry`.

        Images and classes have the data set's own ids. Boxes and masks are in pixels of the image
        as it is displayed.
        """
        for image_id, image in zip(self.image_ids, self.detected, strict=True):
            boxes, scores = image.boxes.astype(float).tolist(), image.scores.astype(float).tolist()
            for row, label in enumerate(image.classes.tolist()):
                mask = None
                if image.masks is not None:
                    mask = {"size": list(image.size), "counts": image.masks[row].decode()}
                yield result_entry(
                    image_id, self.category_ids[label], boxes[row], scores[row], mask
                )

    def _columns(self) -> list[tuple[AveragePrecision, str]]:
        return [(found, x) for found in self.precision.values() for x in BY_CLASS]


class DetectionEvaluator(Evaluator[ObjectClasses]):
    """How a detector is evaluated on a split, see `Evaluator`.

    The counts are what is detected in each image; it is compared with what is annotated at the end.
    """

    @property
    def inference(self) -> str:
        """How the network sees images, in words."""
        long, short = self.config.data.base_scale
        return f"resized to fit {long}x{short}"

    @property
    def settings(self) -> dict[str, Any]:
        """What figures depend on beside weights, network and data."""
        model = to_plain(self.config)["model"]
        return {
            "base_scale": list(self.config.data.base_scale),
            "proposals": model["rpn"]["test"],
            "detections": model["test"],
        }

    def batches(self, shard: InputShard) -> Iterator[EvaluationBatch]:
        """Yields a process's part of every batch of the split."""
        of_part = {"shard_index": shard.index, "shard_count": shard.count}
        return evaluation_batches(self.config, self.split, **of_part)

    def start(self) -> DetectionCollector:
        """The detections of no batch."""
        return DetectionCollector(
            with_masks=self._compares_masks,
            mask_threshold=self.config.model.test.mask_threshold,
        )

    def add(
        self, counts: DetectionCollector, variables: PyTree, batch: EvaluationBatch
    ) -> tuple[DetectionCollector, Detections]:
        """The detections with those of a batch, and what is predicted for it."""
        arrays = {key: batch[key] for key in ("image", "size")}
        placed = shard_batch(arrays, self.mesh)  # each image whole on one device
        predicted = self._detect(variables, placed["image"], placed["size"])
        counts.add(predicted, index=batch["index"], seen=batch["size"], size=batch["original_size"])
        return counts, predicted

    def evaluated(self, counts: DetectionCollector, **about: Any) -> Evaluation:
        """The result of all batches of all processes."""
        (annotated, image_ids), name = self._annotated, self._name
        detected = of_all_processes(
            counts.finish(), input_shard(self.mesh), count=len(annotated), name=name
        )
        classes = np.concatenate([x.classes[~x.crowds] for x in annotated]) if annotated else []
        kinds: tuple[Kind, ...] = ("box", "mask") if self._compares_masks else ("box",)
        num_classes, data = self.meaning.num_classes, self.config.data
        precision: dict[Kind, AveragePrecision] = {
            kind: average_precision(annotated, detected, num_classes=num_classes, kind=kind)
            for kind in kinds
        }
        return Evaluation(
            classes=self.meaning,
            objects=np.bincount(np.asarray(classes, int), minlength=num_classes),
            precision=precision,
            detected=detected,
            image_ids=image_ids,
            category_ids=category_ids(DATA_SETS.meaning(data.name, data.data_dir)),
            **about,
        )

    @functools.cached_property
    def _compares_masks(self) -> bool:
        data = self.config.data
        contents = DATA_SETS.contents(data.name, data.data_dir, self.split)
        return self.config.model.mask_head.enabled and contents.record_format.has_masks

    @functools.cached_property
    def _records(self) -> Any:
        data = self.config.data
        return DATA_SETS.open_split(data.name, data.data_dir, self.split)

    @functools.cached_property
    def _annotated(self) -> tuple[list[Annotations], list[int]]:
        """What is annotated in each image, and its id: some kilobytes, read once for all
        evaluations."""
        annotated, image_ids = [], []
        for index in range(len(self._records)):
            record = self._records[index]
            annotated.append(annotations_of(record))
            image_ids.append(int(record["image_id"]))
        return annotated, image_ids

    def _name(self, index: int) -> str:
        return f"'{self._records[index]['name'].decode(errors='backslashreplace')}'"

    @functools.cached_property
    def _detect(self) -> Callable[..., Detections]:
        detect = on_each_device(self.mesh, functools.partial(_detected, self.graphdef))
        return compile_for(self.mesh, detect, out_shardings=batch_sharding(self.mesh))


def as_percent(value: float) -> str:
    """A figure from 0 to 1 in percent, and a dash where there is none."""
    return "-" if np.isnan(value) else f"{100 * value:.1f}"


def _or_null(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _detected(
    graphdef: nnx.GraphDef,
    variables: PyTree,
    images: UInt8[Array, "b h w 3"],
    sizes: Int32[Array, "b 2"],
) -> Detections:
    return merge(graphdef, variables)(normalize_images(images, sizes), sizes)
