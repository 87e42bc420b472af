"""Looks into context blocks: what they attend to, and what they cost.

    gcnet analyze_context attention --config=ablation/context_shapes:nl \\
        --workdir=runs/shapes_nl --output_dir=runs/analysis

measures, for each context block of a trained network of any task, how much its input, its attention
map and its output differ between query positions (averages over all pairs of positions and over
images), and draws the attention maps of some queries, each from its own lowest weight to its own
highest, which the bar below it says in multiples of the mean. The output folder receives
`attention.json` and one PNG a block.

    gcnet analyze_context cost --config=ablation/context_shapes

tabulates parameters and multiply-adds of the config's network with each variant of the context
block; without --config, those of blocks in a ResNet-50, beside the paper's. --output_dir receives
`cost.json`.
"""

import json
from collections.abc import Sequence

from absl import flags

from gcnet_jax.cli import command, options
from gcnet_jax.cli.importing import importing
from gcnet_jax.cli.runs import require_model
from gcnet_jax.errors import UsageError
from gcnet_jax.files import write_whole

_OPTIONS = flags.FlagValues()
_CONFIG = options.define_config_flag(_OPTIONS)
_MODEL = options.define_checkpoint_flags(_OPTIONS)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "folder for the results; created if missing (attention: required)",
    flag_values=_OPTIONS,
)
_SPLIT = flags.DEFINE_string(
    "split", None, "attention: split to look at (default: the config's)", flag_values=_OPTIONS
)
_IMAGES = flags.DEFINE_integer(
    "images",
    100,
    "attention: how many images, spread over the split",
    lower_bound=1,
    flag_values=_OPTIONS,
)
_POSITIONS = flags.DEFINE_integer(
    "positions",
    256,
    "attention: query positions to draw at random in each image for the distances of attention "
    "maps; 0: all of them",
    lower_bound=0,
    flag_values=_OPTIONS,
)
_PICTURES = flags.DEFINE_integer(
    "pictures", 4, "attention: images on each page", lower_bound=1, flag_values=_OPTIONS
)
_POINTS = flags.DEFINE_multi_string(
    "point",
    ["0.25,0.25", "0.75,0.25", "0.25,0.75", "0.75,0.75"],
    "attention: a query to draw the map of, as X,Y from 0,0 (top left) to 1,1; may be repeated",
    flag_values=_OPTIONS,
)
_SIZE = flags.DEFINE_string(
    "size",
    None,
    "cost: HEIGHT,WIDTH of the image (default: the config's crop, or the paper's)",
    flag_values=_OPTIONS,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status; see `gcnet_jax.cli.command.run`."""
    return command.run(_analyze, __name__, _OPTIONS, arguments)


def _analyze(arguments: list[str]) -> None:
    match arguments:
        case ["attention", *others]:
            require_model(_OPTIONS, others)
            options.refuse(others)
            _attention()
        case ["cost"]:
            _cost()
        case _:
            given = " ".join(arguments) or "nothing"
            raise UsageError(f"{given} given; expected 'attention' or 'cost', see --help")


def _attention() -> None:
    options.required(_OUTPUT_DIR.value, "--output_dir")
    config = options.checked_config(_CONFIG)
    if _POSITIONS.value == 1:
        raise UsageError("--positions is 1; expected 0 for all, or 2 or more: pairs are compared")
    with importing():
        from gcnet_jax.cli.attention_study import parse_point, study_attention
    study_attention(
        config,
        _MODEL.values(),
        options.output_folder(_OUTPUT_DIR.value, "--output_dir"),
        split=_SPLIT.value,
        images=_IMAGES.value,
        positions=_POSITIONS.value,
        pictures=_PICTURES.value,
        points=[parse_point(text) for text in _POINTS.value],
    )


def _cost() -> None:
    with importing():
        from gcnet_jax.cli.cost_tables import paper_costs, parse_size, variant_costs
    size = parse_size(_SIZE.value) if _SIZE.value is not None else None
    folder = None
    if _OUTPUT_DIR.value is not None:
        folder = options.output_folder(_OUTPUT_DIR.value, "--output_dir")
    if _CONFIG.value is None:
        result = paper_costs(size)
    else:
        result = variant_costs(options.checked_config(_CONFIG), size)
    if folder is not None:
        file = folder / "cost.json"
        write_whole(file, json.dumps(result, indent=2) + "\n")
        print(f"written to {file}")
