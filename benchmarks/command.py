"""Measures speed; with --peer, another library takes turns in the same run.

    python -m benchmarks input --config=configs/gcnet/RUN.py

measures on one core how many images a second the training input pipeline makes, from records on
disk to crops ready for a batch, with the config's crops, scales and distortions. The images are
generated; they are stored as PNG and as plain pixels, and all pipelines take turns on them. What
counts is the processor's time. Of a detection config they are photographs of 480x640 with seven
objects, as JPEG and as plain pixels; mmdetection's steps take turns by functions of mmcv.

    python -m benchmarks train --config=configs/gcnet/RUN.py --peer=openmmlab

measures training steps of the config's batch and crop: how long they take to compile and to run,
what they compute and what share of the machine's speed that is, and the memory of the compiled
program on each device, by part.

    python -m benchmarks train --config=coco/mask-rcnn_r50_fpn_1x_coco --peer=torchvision

measures the same of a detector, whole and by part, with torchvision's Mask R-CNN in turn.

    python -m benchmarks inference --config=configs/gcnet/RUN.py --size=1024,2048 --images=1

measures the same of a batch of images on their way to the class of each pixel.

    python -m benchmarks evaluation --config=configs/gcnet/RUN.py

measures how many images a second the config's network evaluates, whole, in sliding windows and at
several scales with mirror images: in batches, and one by one. --split takes real images.

    python -m benchmarks detect --peer=torchvision

measures the inference of Mask R-CNN with ResNet-50 (or --config) on images of 800x1333, one and two
at once: whole, by part, and its operators alone; torchvision's takes turns, with the same weights.

    python -m benchmarks export --config=configs/gcnet/RUN.py --size=512,512 --images=1

measures the same of files that `gcnet export` writes: StableHLO, and where they are installed ONNX
in onnxruntime and in OpenVINO. With --peer=openmmlab also of mmsegmentation's network and of the
ONNX model that PyTorch writes of it.

    python -m benchmarks predict --config=configs/gcnet/RUN.py --images=100

measures how long photos take to labels and overlays on disk, of as many sizes and of one, the first
time and again, and what one photo of --size takes in time and memory.

    python -m benchmarks serving --config=context_shapes/gcnet --size=64,128 --images=200

measures how many photos a second `gcnet demo`'s server answers to 1, 2, 4, ... 32 clients at once,
--images requests a round, and then its memory over ten times as many.

    python -m benchmarks growth --config=configs/gcnet/RUN.py

measures how a training step's cost grows with the crop, the batch, the depth and the classes, one
changed at a time. Writes a picture as well, beside the JSON.

    python -m benchmarks loop --config=configs/gcnet/RUN.py --steps=50 --rounds=4

measures what the training loop adds to the steps that it drives.

    python -m benchmarks startup --config=configs/gcnet/RUN.py --rounds=1

measures how long `gcnet train` takes to its first step, with nothing compiled before and again.

    python -m benchmarks memory --config=configs/gcnet/RUN.py --budget_gib=16,80

finds the largest batch and the largest crop whose training step fits the memory of a device, for
several choices of model.backbone.remat_stages. Steps are compiled, for the devices at hand, and
neither allocated nor run.

Prints tables, and writes the same as JSON (--output).
"""

import importlib.util
import json
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from absl import flags
from etils import epath
from ml_collections import ConfigDict

from benchmarks.evaluation_modes import MODES
from benchmarks.machine import describe_machine
from benchmarks.peer_choice import check_peer, is_of_detection, make_room_for_peer
from gcnet_jax.cli import command, options
from gcnet_jax.cli.importing import importing
from gcnet_jax.errors import InputError, UsageError
from gcnet_jax.files import as_path, write_whole

_SIZE_OF_COCO, _CLASSES_OF_COCO = (800, 1333), 80
_SIZE_OF_PHOTOGRAPHS = (480, 640)  # most of COCO's, as they are stored

_OPTIONS = flags.FlagValues()
_CONFIG = options.define_config_flag(_OPTIONS)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "JSON file (default: benchmark_WHAT.json, such as benchmark_input.json)",
    flag_values=_OPTIONS,
)
_ROUNDS = flags.DEFINE_integer(
    "rounds",
    11,
    "how often each is measured, in turn with the others",
    lower_bound=1,
    flag_values=_OPTIONS,
)
_PEER = flags.DEFINE_enum(
    "peer",
    None,
    ["openmmlab", "torchvision"],
    "what takes turns with gcnet_jax: torchvision in `detect` and `train` of detectors, else what "
    "the extra `peer` installs",
    flag_values=_OPTIONS,
)
_SIZE = flags.DEFINE_string(
    "size",
    "1024,2048",
    "HEIGHT,WIDTH of the images in pixels (`detect`: 800,1333; `input` of detection: 480,640)",
    flag_values=_OPTIONS,
)
_IMAGES = flags.DEFINE_integer(
    "images", 8, "images in a round (`detect`: 1, then 2)", lower_bound=1, flag_values=_OPTIONS
)
_STEPS = flags.DEFINE_integer(
    "steps", 50, "training steps in a round of `loop`", lower_bound=1, flag_values=_OPTIONS
)
_SPLIT = flags.DEFINE_string(
    "split",
    None,
    "split of the config's data set to evaluate, such as val (default: drawn images)",
    flag_values=_OPTIONS,
)
_MODES = flags.DEFINE_multi_enum(
    "mode",
    list(MODES),
    list(MODES),
    "how to evaluate; several --mode=... or all",
    flag_values=_OPTIONS,
)
_BUDGET = flags.DEFINE_list(
    "budget_gib", ["16"], "memory of a device in GiB, one or several", flag_values=_OPTIONS
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; see `gcnet_jax.cli.command.run`."""
    return command.run(_benchmark, __name__, _OPTIONS, arguments)


def _input(config: ConfigDict) -> dict[str, Any]:
    from benchmarks.input import measure_input
    from gcnet_jax.cli.cost_tables import parse_size

    photographs = is_of_detection(config) and not _OPTIONS["size"].present
    return measure_input(
        config,
        size=_SIZE_OF_PHOTOGRAPHS if photographs else parse_size(_SIZE.value),
        images=_IMAGES.value,
        rounds=_ROUNDS.value,
        peer=_PEER.value is not None,
    )


def _inference(config: ConfigDict) -> dict[str, Any]:
    from benchmarks.inference import measure_inference
    from gcnet_jax.cli.cost_tables import parse_size

    return measure_inference(
        config,
        num_classes=_num_classes(config),
        size=parse_size(_SIZE.value),
        images=_IMAGES.value,
        rounds=_ROUNDS.value,
        peer=_PEER.value is not None,
    )


def _evaluation(config: ConfigDict) -> dict[str, Any]:
    from benchmarks.evaluation import measure_evaluation
    from gcnet_jax.cli.cost_tables import parse_size

    return measure_evaluation(
        config,
        num_classes=_num_classes(config),
        size=parse_size(_SIZE.value),
        images=_IMAGES.value,
        rounds=_ROUNDS.value,
        split=_SPLIT.value,
        modes=_MODES.value,
        peer=_PEER.value is not None,
    )


def _detect(config: ConfigDict) -> dict[str, Any]:
    from benchmarks.detection import measure_detection
    from gcnet_jax.cli.cost_tables import parse_size

    return measure_detection(
        config,
        num_classes=_CLASSES_OF_COCO,
        size=parse_size(_SIZE.value) if _OPTIONS["size"].present else _SIZE_OF_COCO,
        batches=[_IMAGES.value] if _OPTIONS["images"].present else [1, 2],
        rounds=_ROUNDS.value,
        peer=_PEER.value is not None,
    )


def _export(config: ConfigDict) -> dict[str, Any]:
    from benchmarks.export import measure_export
    from gcnet_jax.cli.cost_tables import parse_size

    return measure_export(
        config,
        num_classes=_num_classes(config),
        size=parse_size(_SIZE.value),
        images=_IMAGES.value,
        rounds=_ROUNDS.value,
        peer=_PEER.value is not None,
    )


def _predict(config: ConfigDict) -> dict[str, Any]:
    from benchmarks.prediction import measure_prediction
    from gcnet_jax.cli.cost_tables import parse_size

    return measure_prediction(
        config,
        num_classes=_num_classes(config),
        photos=_IMAGES.value,
        rounds=_ROUNDS.value,
        large=parse_size(_SIZE.value),
    )


def _serving(config: ConfigDict) -> dict[str, Any]:
    from benchmarks.serving import measure_serving
    from gcnet_jax.cli.cost_tables import parse_size

    if importlib.util.find_spec("uvicorn") is None:
        raise InputError("the server's packages are not installed; pip install '.[demo]'")
    return measure_serving(
        config, size=parse_size(_SIZE.value), images=_IMAGES.value, rounds=_ROUNDS.value
    )


def _train(config: ConfigDict) -> dict[str, Any]:
    if is_of_detection(config):
        from benchmarks.detection_training import measure_detection_training

        return measure_detection_training(
            config,
            num_classes=_CLASSES_OF_COCO,
            rounds=_ROUNDS.value,
            peer=_PEER.value is not None,
        )
    from benchmarks.training import measure_training

    return measure_training(
        config, num_classes=_num_classes(config), rounds=_ROUNDS.value, peer=_PEER.value is not None
    )


def _loop(config: ConfigDict) -> dict[str, Any]:
    from benchmarks.loop import measure_loop

    return measure_loop(
        config, num_classes=_num_classes(config), steps=_STEPS.value, rounds=_ROUNDS.value
    )


def _startup(config: ConfigDict) -> dict[str, Any]:
    from benchmarks.startup import config_arguments, measure_startup

    del config  # that of the command that is started
    return measure_startup(config_arguments(_OPTIONS), rounds=_ROUNDS.value)


def _memory(config: ConfigDict) -> dict[str, Any]:
    from benchmarks.memory import find_largest

    budgets = _parse_budgets(_BUDGET.value)
    return find_largest(config, num_classes=_num_classes(config), budgets_gib=budgets)


def _parse_budgets(texts: Sequence[str]) -> list[float]:
    try:
        budgets = [float(text) for text in texts]
    except ValueError:
        budgets = []
    if not budgets or not all(0 < budget < math.inf for budget in budgets):
        raise InputError(
            f"--budget_gib is '{','.join(texts)}'; expected numbers of GiB, such as 16,80"
        )
    return budgets


def _num_classes(config: ConfigDict) -> int:
    from gcnet_jax.tasks.segmentation.data import DATA_SETS

    return DATA_SETS.meaning(config.data.name, config.data.data_dir).num_classes


def _growth(config: ConfigDict) -> dict[str, Any]:
    from benchmarks.growth import measure_growth, save_growth

    result = measure_growth(config, num_classes=_num_classes(config), rounds=_ROUNDS.value)
    picture = _output("growth").with_suffix(".png")
    save_growth(picture, result["rows"])
    print(f"written to {picture}")
    return result


BENCHMARKS: Mapping[str, Callable[[ConfigDict], dict[str, Any]]] = MappingProxyType(
    {
        "detect": _detect,
        "evaluation": _evaluation,
        "export": _export,
        "growth": _growth,
        "inference": _inference,
        "input": _input,
        "loop": _loop,
        "memory": _memory,
        "predict": _predict,
        "serving": _serving,
        "startup": _startup,
        "train": _train,
    }
)
"""What each benchmark's name starts: a function of the config that returns what it has found."""

# In this process: the others start one, or run none.
_RUN_NETWORKS = frozenset(
    {"detect", "evaluation", "export", "growth", "inference", "loop", "predict", "train"}
)


def _benchmark(arguments: list[str]) -> None:
    if len(arguments) != 1 or arguments[0] not in BENCHMARKS:
        expected = " or ".join(f"'{name}'" for name in BENCHMARKS)
        raise UsageError(f"{' '.join(arguments) or 'nothing'} given; expected {expected}")
    (name,) = arguments
    if name == "detect" and _CONFIG.value is None:
        from gcnet_jax.tasks.detection.config import default_config

        config = default_config()
    else:
        config = options.checked_config(_CONFIG)
    output = _output(name)
    # Fail now, not after the work.
    output = options.output_file(output, key="benchmark", beside=[f"{output.stem}.png"])
    if _PEER.value is not None:
        check_peer(_PEER.value, name, config)
        make_room_for_peer()
    if name in _RUN_NETWORKS:
        with importing():
            from gcnet_jax.parallel import keep_freed_memory
        keep_freed_memory()
    measured = BENCHMARKS[name](config)
    result = {"benchmark": name, "machine": describe_machine(_PEER.value), **measured}
    write_whole(output, json.dumps(result, indent=2) + "\n")
    print(f"written to {output}")


def _output(name: str) -> epath.Path:
    return as_path(_OUTPUT.value or f"benchmark_{name}.json")
