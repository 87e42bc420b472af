"""How fast a network goes over a validation split: in batches, one by one, and the peer's way."""

import copy
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import rich.table
from jaxtyping import Int
from ml_collections import ConfigDict

from benchmarks.comparison import (
    LEAST_AGREEMENT,
    PEER,
    print_tables,
    times_as_fast,
)
from benchmarks.evaluation_modes import MODES, Mode
from benchmarks.peer import (
    build_peer_model,
    import_peer,
    peer_autocast,
    peer_device,
    why_no_peer,
)
from benchmarks.scenes import (
    DATASET,
    SPLIT,
    Scene,
    draw_scene,
    prepare_scenes,
    write_scenes,
)
from gcnet_jax.cli.timing import measure_in_turn, median_and_spread
from gcnet_jax.data import resize_image
from gcnet_jax.errors import InputError
from gcnet_jax.models import split_for_evaluation
from gcnet_jax.parallel import check_batch_size, create_mesh
from gcnet_jax.tasks.segmentation.build_model import build_model
from gcnet_jax.tasks.segmentation.data import DATA_SETS, decode, evaluation_batches, scaled_sizes
from gcnet_jax.tasks.segmentation.evaluation import PixelCounter, confusion_of
from gcnet_jax.tasks.segmentation.segmentor import Segmentor
from gcnet_jax.training import count_batches

_SHORTER = 0.75
"""Height of every second image, so that a batch holds several sizes."""

Confusion = Int[np.ndarray, "classes classes"]


def measure_evaluation(
    config: ConfigDict,
    *,
    num_classes: int,
    size: tuple[int, int],
    images: int,
    rounds: int,
    split: str | None,
    modes: Sequence[str],
    peer: bool,
) -> dict[str, Any]:
    """Measures, prints and returns images a second of each mode.

    Our batches and mmsegmentation's tensors are made before the clock starts; normalisation, the
    network, what follows it and counting into a confusion matrix are measured. Weights are random.
    What is compared takes turns.

    Args:
        config: of the run; of `evaluation` the batch size, buckets, windows and scales count.
        num_classes: of the network.
        size: (height, width) of the larger of drawn images, which have two sizes.
        images: how many to draw.
        rounds: how often each is measured.
        split: of the config's data set, whose images are taken instead of drawn ones.
        modes: of `MODES`, those to measure.
        peer: whether mmsegmentation takes turns.

    Raises:
        InputError: the confusion matrices that are compared differ by more than ties can explain;
            there is no such peer here; or the split cannot be opened.
    """
    check_batch_size(config.evaluation.batch_size, create_mesh(), key="evaluation.batch_size")
    if peer and (reason := why_no_peer(config)):
        raise InputError(f"--peer=openmmlab: {reason}")
    model = build_model(config.model, num_classes=num_classes, seed=config.seed)
    config, rows = copy.deepcopy(config), []
    with tempfile.TemporaryDirectory() as folder:
        if split is None:
            split = SPLIT
            write_scenes(Path(folder), (_scene(i, size) for i in range(images)), num_classes)
            prepare_scenes(Path(folder), Path(folder) / "data")
            config.data.name, config.data.data_dir = DATASET, str(Path(folder) / "data")
        images = DATA_SETS.split_size(config.data.name, config.data.data_dir, split)
        config.evaluation.split = split
        for name in modes:
            config.evaluation.mode = MODES[name].inference
            rows += _measure_mode(name, model, config, num_classes, images, rounds, peer=peer)
    _print(rows, f"{images} images of the {split} split of {config.data.name}, {rounds} rounds")
    return {
        "device": jax.devices()[0].device_kind,
        "images": images,
        "rounds": rounds,
        "config": config.to_dict(),
        "rows": rows,
    }


def _scene(index: int, size: tuple[int, int]) -> Scene:
    height, width = size
    return draw_scene(index, (height if index % 2 == 0 else max(int(_SHORTER * height), 1), width))


def _measure_mode(
    name: str,
    model: Segmentor,
    config: ConfigDict,
    num_classes: int,
    images: int,
    rounds: int,
    *,
    peer: bool,
) -> list[dict[str, Any]]:
    """One row for each way to go over the images."""
    mode = MODES[name]
    one_by_one = copy.deepcopy(config)
    one_by_one.evaluation.batch_size, one_by_one.evaluation.max_buckets = 1, images
    ways = {
        "batches": _ours(mode, model, config, num_classes, devices=jax.devices()),
        "one by one": _ours(mode, model, one_by_one, num_classes, devices=jax.devices()[:1]),
    }
    if peer:
        ways[PEER] = _Peer(mode, model, config, num_classes)
    counts = {way: evaluate() for way, evaluate in ways.items()}  # compiles as well
    check_agreement(name, counts, LEAST_AGREEMENT[config.model.dtype])
    seconds = measure_in_turn({way: _Clock(evaluate) for way, evaluate in ways.items()}, rounds)
    return [
        {
            "mode": name,
            "way": way,
            "images_per_second": median_and_spread([images / x for x in times])._asdict(),
            "times_as_fast_as": times_as_fast(seconds, way),
            "seconds_of_rounds": times,
        }
        for way, times in seconds.items()
    ]


class _Clock:
    """Times a function."""

    def __init__(self, function: Callable[[], Any]):
        self._function = function

    def seconds(self) -> float:
        start = time.perf_counter()
        self._function()
        return time.perf_counter() - start


def _ours(
    mode: Mode, model: Segmentor, config: ConfigDict, num_classes: int, *, devices: Sequence[Any]
) -> Callable[[], Confusion]:
    graphdef, variables = split_for_evaluation(model)
    counter = PixelCounter(
        graphdef,
        num_classes,
        config.evaluation,
        create_mesh(devices),
        mirrored_too=mode.multi_scale,
    )
    batches = list(
        evaluation_batches(config, config.evaluation.split, multi_scale=mode.multi_scale)
    )
    return lambda: confusion_of(count_batches(counter, variables, batches))


class _Peer:
    """mmsegmentation's test step on one image after the other, and its sums for the metric."""

    def __init__(self, mode: Mode, model: Segmentor, config: ConfigDict, num_classes: int):
        self._torch = import_peer("torch")
        self._pixel_data = import_peer("mmengine.structures").PixelData
        self._sample = import_peer("mmseg.structures").SegDataSample
        self._config = config
        self._network = build_peer_model(model, config)
        self._merge = import_peer("mmseg.models").SegTTAModel(module=self._network).merge_preds
        self._num_classes = num_classes
        records = DATA_SETS.open_split(
            config.data.name, config.data.data_dir, config.evaluation.split
        )
        self._images = [self._prepare(decode(record), mode, config) for record in records]

    def _prepare(self, sample: Any, mode: Mode, config: ConfigDict) -> tuple[list[Any], Any]:
        """The inputs of all passes over an image, and its label."""
        image, label = sample["image"], sample["label"]
        passes = []
        for size in scaled_sizes(label.shape, config, multi_scale=mode.multi_scale):
            resized = resize_image(image, size)[..., ::-1]  # BGR, as OpenMMLab reads images
            for flipped in (False, True) if mode.multi_scale else (False,):
                seen = resized[:, ::-1] if flipped else resized
                pixels = self._torch.from_numpy(np.ascontiguousarray(seen.transpose(2, 0, 1)))
                meta = {
                    "img_shape": size,
                    "ori_shape": label.shape,
                    "pad_shape": size,
                    "img_path": "",
                    "flip": flipped,
                    "flip_direction": "horizontal",
                }
                passes.append({"inputs": [pixels], "data_samples": [self._sample(metainfo=meta)]})
        return passes, self._torch.from_numpy(label.astype(np.int64)).to(peer_device())

    def __call__(self) -> Confusion:
        total = self._torch.zeros(self._num_classes**2, dtype=self._torch.int64)
        with self._torch.inference_mode(), peer_autocast(self._config):
            for passes, label in self._images:
                predicted = [self._network.test_step(copy.copy(one_pass))[0] for one_pass in passes]
                if len(predicted) > 1:
                    predicted = self._merge([predicted])
                prediction = predicted[0].pred_sem_seg.data.reshape(label.shape)
                counted = label < self._num_classes
                cell = label[counted] * self._num_classes + prediction[counted]
                total += self._torch.bincount(cell, minlength=self._num_classes**2).cpu()
        return total.numpy().reshape(self._num_classes, self._num_classes)


def check_agreement(name: str, counts: Mapping[str, Confusion], least: float) -> None:
    """Refuses to compare ways that give pixels to other classes than `one by one` does.

    Args:
        name: of the mode.
        counts: the confusion matrix of each way.
        least: share of the pixels that must go to the same class.

    Raises:
        InputError: more pixels differ than ties between classes can explain.
    """
    expected = counts["one by one"]
    for way, confusion in counts.items():
        # A pixel that changes the class shows twice in the difference.
        agreement = 1 - np.abs(confusion - expected).sum() / 2 / expected.sum()
        if agreement < least:
            raise InputError(
                f"{name}: '{way}' and 'one by one' agree on {agreement:.2%} of the pixels, "
                f"expected {least:.1%}: they do not compute the same"
            )


def _print(rows: Sequence[dict[str, Any]], title: str) -> None:
    table = rich.table.Table(title=title, title_justify="left", pad_edge=False)
    for column in ("mode", "way"):
        table.add_column(column, no_wrap=True)
    for column in ("images/s", "times one by one", f"times {PEER}"):
        table.add_column(column, justify="right")
    for row in rows:
        speeds = [row["images_per_second"]]
        speeds += [row["times_as_fast_as"].get(way) for way in ("one by one", PEER)]
        cells = [f"{x['median']:.2f} ± {x['spread']:.2f}" if x else "" for x in speeds]
        table.add_row(row["mode"], row["way"], *cells)
    print_tables(table)
