"""How fast a folder of photos is segmented, of many sizes and of one; and one large photo."""

import multiprocessing
import resource
import sys
import tempfile
import time
from typing import Any

import jax
import numpy as np
import rich.console
from etils import epath
from ml_collections import ConfigDict
from PIL import Image

from benchmarks.comparison import print_tables, table, times_as_fast, with_spread
from benchmarks.memory import GIB, device_name
from gcnet_jax.cli.timing import CONSOLE, median_and_spread
from gcnet_jax.config import MAX_IMAGE_PIXELS
from gcnet_jax.models import split_for_evaluation
from gcnet_jax.task import Photo, PredictionOptions
from gcnet_jax.tasks.segmentation.build_model import build_model
from gcnet_jax.tasks.segmentation.data import DatasetClasses, generic_palette
from gcnet_jax.tasks.segmentation.prediction_run import predict_files
from gcnet_jax.tasks.segmentation.predictor import Predictor

_SHORTEST, _LONGEST = 300, 700  # pixels of an edge
_COLD, _MANY, _ONE = "many sizes, nothing compiled", "many sizes, again", "one size, again"


def measure_prediction(
    config: ConfigDict, *, num_classes: int, photos: int, rounds: int, large: tuple[int, int]
) -> dict[str, Any]:
    """Measures, prints and returns how long files take from JPEGs to labels and overlays on disk.

    Weights are random. Photos of as many sizes as there are of them take turns with as many of one
    size, which has as many pixels as they have in the mean. Nothing comes from the cache on disk.

    Args:
        config: of the run.
        num_classes: of the network.
        photos: how many.
        rounds: how often each folder is segmented once its programs are compiled.
        large: (height, width) of one photo, segmented in a process of its own.
    """
    jax.config.update("jax_enable_compilation_cache", False)
    predictor = _predictor(config, num_classes)
    rng = np.random.default_rng(0)
    sizes = _sizes(photos, rng)
    side = round(float(np.mean([height * width for height, width in sizes])) ** 0.5)
    seconds: dict[str, list[float]] = {_COLD: [], _MANY: [], _ONE: []}
    of_processors: dict[str, list[float]] = {name: [] for name in seconds}

    def measure(way: str, photos: list[Photo]) -> None:
        wall, processors = _time(predictor, photos, folder / "out")
        seconds[way].append(wall)
        of_processors[way].append(processors)

    with tempfile.TemporaryDirectory() as temporary:
        folder = epath.Path(temporary)
        many = _write_photos(folder / "many", sizes, rng)
        one = _write_photos(folder / "one", [(side, side)] * photos, rng)
        measure(_COLD, many)
        _time(predictor, one, folder / "out")  # compiles
        for _ in range(rounds):
            measure(_MANY, many)
            measure(_ONE, one)
    with CONSOLE.status(f"one photo of {large[1]}x{large[0]}"):
        spawning = multiprocessing.get_context("spawn")
        with spawning.Pool(1) as pool:  # whose memory is the photo's alone
            of_large = pool.apply(_predict_large, (config, num_classes, large))
    rows = [
        {
            "way": name,
            "seconds_of_rounds": times,
            "step_seconds": median_and_spread(times)._asdict(),
            "processor_seconds": median_and_spread(of_processors[name])._asdict(),
            "times_as_fast_as": times_as_fast(seconds, name) if name != _COLD else {},
        }
        for name, times in seconds.items()
    ]
    speed = table(f"{photos} photos, {rounds} rounds", ("seconds", "of processors", "photos/s"))
    for row in rows:
        rate = photos / row["step_seconds"]["median"]
        speed.add_row(
            row["way"],
            with_spread(row["step_seconds"]),
            with_spread(row["processor_seconds"]),
            f"{rate:.2f}",
        )
    print_tables(speed)
    print(
        f"one photo of {large[1]}x{large[0]}, {num_classes} classes, in a process of its own: "
        f"{of_large['seconds']:.1f} s with compiling, {of_large['peak_gib']:.2f} GiB at most"
    )
    return {
        "device": device_name(),
        "photos": photos,
        "rounds": rounds,
        "rows": rows,
        "large": {"size": list(large), "classes": num_classes, **of_large},
        "config": config.to_dict(),
    }


def _predictor(config: ConfigDict, num_classes: int) -> Predictor:
    model = build_model(config.model, num_classes=num_classes, seed=config.seed)
    names = tuple(f"class {index}" for index in range(num_classes))
    classes = DatasetClasses(names, generic_palette(num_classes))
    return Predictor(*split_for_evaluation(model), classes, config)


def _sizes(count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Draws `count` different (height, width)."""
    sizes: set[tuple[int, int]] = set()
    while len(sizes) < count:
        height, width = rng.integers(_SHORTEST, _LONGEST, 2).tolist()
        sizes.add((height, width))
    return sorted(sizes)


def _write_photos(
    folder: epath.Path, sizes: list[tuple[int, int]], rng: np.random.Generator
) -> list[Photo]:
    """JPEG files of drawn images with some detail."""
    folder.mkdir()
    photos = []
    for index, (height, width) in enumerate(sizes):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
        path = folder / f"{index:03}.jpg"
        coarse.resize((width, height), Image.Resampling.BICUBIC).save(path)
        photos.append(Photo(path, path.stem))
    return photos


def _time(predictor: Predictor, photos: list[Photo], output: epath.Path) -> tuple[float, float]:
    """Seconds on the clock, and of all processors in this process."""
    output.mkdir(exist_ok=True)
    console = rich.console.Console(stderr=True)
    start, worked = time.perf_counter(), time.process_time()
    options = PredictionOptions("random weights", False, False, MAX_IMAGE_PIXELS, False, console)
    predict_files(predictor, photos, [], output, options)
    return time.perf_counter() - start, time.process_time() - worked


def _predict_large(config: ConfigDict, num_classes: int, size: tuple[int, int]) -> dict[str, float]:
    """Seconds of one photo, and the most memory that this process has had."""
    jax.config.update("jax_enable_compilation_cache", False)
    with tempfile.TemporaryDirectory() as temporary:
        folder = epath.Path(temporary)
        photos = _write_photos(folder / "photo", [size], np.random.default_rng(0))
        seconds, _ = _time(_predictor(config, num_classes), photos, folder / "out")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    in_bytes = peak if sys.platform == "darwin" else 1024 * peak
    return {"seconds": seconds, "peak_gib": in_bytes / GIB}
