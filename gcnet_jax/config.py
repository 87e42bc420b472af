"""What a config holds: every key there is, with the values of the published runs as defaults.

A run's file starts from `default_config()` and sets what is its own. The result is locked, so that
a misspelt key fails where it is written, in the file or on the command line.
"""

import importlib.util
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from gcnet_jax.errors import InputError

_COUNTS = (
    "model.backbone.base_channels",
    "model.decode_head.channels",
    "model.decode_head.num_convs",
    "model.auxiliary_head.channels",
    "training.total_steps",
    "training.batch_size",
    "training.accumulation_steps",
    "training.log_every",
    "training.evaluate_every",
    "training.checkpoint_every",
    "training.keep_newest",
    "parallel.spatial",
    "evaluation.batch_size",
    "evaluation.max_buckets",
)
_ANY_LENGTH: dict[str, float] = {  # tuples that may have another length, with an element each
    "evaluation.scales": 1.0,
    "model.backbone.context.stages": 0,
    "model.backbone.context.residual_blocks": 0,
    "model.backbone.remat_stages": 0,
}


def default_config() -> ConfigDict:
    """A config with every key set."""
    config = ConfigDict()
    config.published_run = ""  # the run whose weights `published` means, if there is one
    config.variant = ""  # of an ablation, as `gcnet_jax.analysis.VARIANTS` calls it
    config.seed = 0  # of the initial weights, the data order, augmentation and dropout

    config.model = ConfigDict()
    config.model.dtype = "float32"  # of the computation; "bfloat16" on accelerators
    config.model.align_corners = False  # in resizing logits; true for the 769x769 runs
    config.model.backbone = ConfigDict()
    config.model.backbone.depth = 50  # 18, 34, 50, 101
    config.model.backbone.variant = "v1c"  # "v1b", "v1c", "v1d"
    config.model.backbone.output_stride = 8  # 8, 16, 32
    config.model.backbone.num_stages = 4
    config.model.backbone.base_channels = 64
    # stages, counted from 0, that are computed again for their gradients, to need less memory
    config.model.backbone.remat_stages = ()
    config.model.backbone.context = _context_block("", ratio=1 / 16)
    # behind which convolution of a residual block: "after_conv1", ...; or "after_add"
    config.model.backbone.context.position = "after_conv3"
    config.model.backbone.context.stages = (1, 2, 3)  # counted from 0: c3, c4 and c5 of the papers
    config.model.backbone.context.residual_blocks = ()  # which of a stage, such as (-2,); (): all
    config.model.decode_head = ConfigDict()
    config.model.decode_head.stage = 3  # of the backbone, counted from 0
    config.model.decode_head.channels = 512
    config.model.decode_head.num_convs = 2
    config.model.decode_head.concat_input = True
    config.model.decode_head.dropout_rate = 0.1
    config.model.decode_head.context = _context_block("global_context", ratio=1 / 4)
    config.model.auxiliary_head = ConfigDict()
    config.model.auxiliary_head.enabled = True
    config.model.auxiliary_head.stage = 2
    config.model.auxiliary_head.channels = 256
    config.model.auxiliary_head.dropout_rate = 0.1

    config.data = ConfigDict()
    config.data.name = ""  # of the data set, as given to prepare_dataset.py
    config.data.data_dir = "data"  # where prepare_dataset.py put it
    config.data.train_split = "train"
    config.data.base_scale = (2048, 1024)  # (long edge, short edge) at ratio 1, in pixels
    config.data.scale_range = (0.5, 2.0)  # the ratio is drawn from here
    config.data.crop_size = (512, 1024)  # (height, width), in pixels
    config.data.cat_max_ratio = 0.75  # no class may cover more of a crop than this
    config.data.flip_probability = 0.5
    config.data.photometric_distortion = True
    config.data.num_workers = 4  # processes that prepare batches; 0: threads only

    config.optimizer = ConfigDict()
    config.optimizer.learning_rate = 0.01
    config.optimizer.final_learning_rate = 1e-4  # reached in the last step
    config.optimizer.power = 0.9  # of the polynomial decay between the two
    config.optimizer.momentum = 0.9
    config.optimizer.weight_decay = 5e-4

    config.training = ConfigDict()
    config.training.total_steps = 40_000
    config.training.batch_size = 8  # over all devices of all hosts
    config.training.accumulation_steps = 1  # the batch is worked through in so many parts
    config.training.auxiliary_loss_weight = 0.4
    config.training.log_every = 50  # steps
    config.training.evaluate_every = 4000  # steps
    config.training.checkpoint_every = 2000  # steps
    config.training.keep_newest = 2  # checkpoints, beside the best one
    config.training.init_from = ""  # a checkpoint of any kind, or a published one by name
    config.training.init_part = "backbone"  # what to take of it, or "model" for everything

    config.parallel = ConfigDict()
    config.parallel.spatial = 1  # devices that each image is split over, by its height
    config.parallel.fsdp = False  # parameters and optimizer state spread over the devices

    config.evaluation = ConfigDict()
    config.evaluation.split = "val"
    config.evaluation.batch_size = 8  # over all devices
    config.evaluation.mode = "whole"  # image at a time, or "slide": windows over it
    config.evaluation.window = (769, 769)  # (height, width) in pixels, of mode "slide"
    config.evaluation.window_stride = (513, 513)  # from one window to the next
    config.evaluation.windows_at_once = 8  # of each image; 0: all of them
    config.evaluation.max_buckets = 4  # sizes that images are padded to, each compiled once
    config.evaluation.scales = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)  # of multi-scale evaluation
    return config.lock()


def _context_block(block: str, *, ratio: float) -> ConfigDict:
    """Which context block stands in a place, and what each kind takes, under the kind's name."""
    section = ConfigDict()
    # one of the kinds below, "simplified_non_local", "MODULE:CLASS" for one of your own, "": none
    section.block = block
    section.global_context = ConfigDict()
    section.global_context.ratio = ratio
    section.global_context.pooling = "attention"  # "attention", "average"
    section.global_context.fusion = "add"  # "add", "multiply", "both"
    section.global_context.activation = "layer_norm_relu"  # "layer_norm_relu", "relu", "none"
    section.non_local = ConfigDict()
    section.non_local.mode = "embedded_gaussian"  # or "gaussian", "dot_product", "concatenation"
    section.non_local.reduction = 2  # the embeddings have so many times fewer channels
    section.non_local.use_scale = True
    section.non_local.sub_sample = False
    section.squeeze_excite = ConfigDict()
    section.squeeze_excite.ratio = ratio
    section.squeeze_excite.gate = "hard_sigmoid"  # "hard_sigmoid", "sigmoid"
    return section


def load_config(file: str | Path, *arguments: str) -> ConfigDict:
    """Runs the `get_config` of a config's file and checks the keys of the result.

    Args:
        file: path of the config's file. What it imports from a package `configs` is looked up
            beside the nearest folder of that name above it.
        *arguments: what `get_config` takes, if anything.

    Raises:
        InputError: there is no such file, it has no `get_config`, or a key is misspelt.
    """
    path = Path(file)
    if not path.is_file():
        raise InputError(f"there is no config file {path}")
    make_common_configs_importable(path)
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config(*arguments)
    except Exception as error:  # a config is code: anything can go wrong in it
        raise InputError(f"{path}: {type(error).__name__}: {brief_reason(error)}") from error
    check_config(config)
    return config


def brief_reason(error: BaseException) -> str:
    """What an exception says, on one line.

    ml_collections wraps the message on a misspelt key into several exceptions, each the argument of
    the next, and lists all keys there are before it says which was meant.
    """
    reason: Any = error
    while isinstance(reason, AttributeError | KeyError) and reason.args:
        reason = reason.args[0]
    lines = [line.strip("'\" ") for line in str(reason).replace("\\n", "\n").splitlines()]
    if lines and lines[-1].startswith("Did you mean"):
        lines = lines[-1:]
    return " ".join(lines)


def cache_folder(name: str) -> Path:
    """The folder `name` of this library below the user's cache folder (`XDG_CACHE_HOME`)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gcnet_jax" / name


def make_common_configs_importable(file: Path) -> None:
    """Lets a file below a folder `configs` import `configs.common`, whatever the current folder."""
    for folder in file.resolve().parents:
        if folder.name == "configs":
            if str(folder.parent) not in sys.path:
                sys.path.insert(0, str(folder.parent))
            return


def check_config(config: ConfigDict) -> None:
    """Raises InputError unless the keys are those of `default_config`, and the counts positive."""
    expected, given = set(_leaves(default_config())), set(_leaves(config))
    if unknown := sorted(given - expected):
        raise InputError(f"the config has unknown keys: {', '.join(unknown)}")
    if missing := sorted(expected - given):
        raise InputError(f"the config lacks the keys: {', '.join(missing)}")
    for key in sorted(expected):
        _check_type(key, _leaf(config, key), _leaf(default_config(), key))
    for key in _COUNTS:
        if _leaf(config, key) < 1:
            raise InputError(f"{key} is {_leaf(config, key)}; expected 1 or more")
    if min(config.data.base_scale) < 1:
        raise InputError(f"data.base_scale is {config.data.base_scale}; expected 1 or more")
    _check_evaluation(config)


def _check_evaluation(config: ConfigDict) -> None:
    evaluation = config.evaluation
    if evaluation.mode not in ("whole", "slide"):
        raise InputError(f"evaluation.mode is {evaluation.mode!r}; expected 'whole' or 'slide'")
    if min(evaluation.window) < 1:
        raise InputError(f"evaluation.window is {evaluation.window}; expected 1 or more")
    for step, extent in zip(evaluation.window_stride, evaluation.window, strict=True):
        if not 0 < step <= extent:
            raise InputError(
                f"evaluation.window_stride is {evaluation.window_stride}; expected 1 or more and "
                f"at most the window, {evaluation.window}"
            )
    if evaluation.windows_at_once < 0:
        raise InputError(
            f"evaluation.windows_at_once is {evaluation.windows_at_once}; expected 0 (all) or more"
        )
    if not evaluation.scales or min(evaluation.scales) <= 0:
        raise InputError(f"evaluation.scales is {evaluation.scales}; expected positive numbers")


def _check_type(key: str, value: Any, default: Any) -> None:
    """A whole number may stand for a fraction; tuples must match element by element."""
    if isinstance(default, tuple):
        if key in _ANY_LENGTH and isinstance(value, tuple):
            default = (_ANY_LENGTH[key],) * len(value)
        if not isinstance(value, tuple) or len(value) != len(default):
            raise InputError(f"{key} is {value!r}; expected {len(default)} numbers, as {default}")
        for element, default_element in zip(value, default, strict=True):
            _check_type(key, element, default_element)
    elif isinstance(default, float):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"{key} is {value!r}; expected a number, such as {default!r}")
    elif type(value) is not type(default):
        expected = type(default).__name__
        raise InputError(f"{key} is {value!r}; expected a value of type {expected}")


def to_plain(config: ConfigDict) -> dict[str, Any]:
    """The config as what JSON can hold: nested dicts, with tuples as lists."""
    return json.loads(config.to_json())


def from_plain(plain: dict[str, Any]) -> ConfigDict:
    """The config that `to_plain` made; keys that it lacks have their defaults."""
    config = default_config()
    _fill(config, plain)
    return config


def _fill(config: ConfigDict, plain: dict[str, Any]) -> None:
    for key, value in plain.items():
        if isinstance(value, dict):
            _fill(config[key], value)
        else:
            config[key] = tuple(value) if isinstance(value, list) else value


def versions() -> dict[str, str]:
    """The versions of what a checkpoint is written with, for its metadata."""
    return {name: version(name) for name in ("gcnet-jax", "jax", "flax")}


def architecture(model: dict[str, Any]) -> dict[str, Any]:
    """The part of a plain `model` section that the arrays in a checkpoint depend on.

    Precision, dropout and what is computed again can change between runs; parameters fit all the
    same. Nor does it matter how context blocks that are not there would be.
    """
    return {
        key: architecture(value) if isinstance(value, dict) else value
        for key, value in (_present(model) if "block" in model else model).items()
        if key not in ("dtype", "dropout_rate", "remat_stages")
    }


def _present(context: dict[str, Any]) -> dict[str, Any]:
    """Of a section on a context block, what concerns the block that is there."""
    if not context["block"]:
        return {"block": ""}
    of_others = [k for k, v in context.items() if isinstance(v, dict) and k != context["block"]]
    return {key: value for key, value in context.items() if key not in of_others}


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """The leaves in which two plain configs differ, each as `key: old -> new`."""
    found = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key}: {a} -> {b}")
    return found


def describe_defaults() -> list[str]:
    """One line a key, `key = default`, for help texts."""
    config = default_config()
    return [f"{key} = {_leaf(config, key)!r}" for key in _leaves(config)]


def _leaf(config: ConfigDict, key: str) -> Any:
    for part in key.split("."):
        config = config[part]
    return config


def _leaves(config: ConfigDict, prefix: str = "") -> list[str]:
    leaves = []
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            leaves += _leaves(value, f"{prefix}{key}.")
        else:
            leaves.append(f"{prefix}{key}")
    return leaves
