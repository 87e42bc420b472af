"""Tables of what context blocks cost: in a config's network, and in the paper's setting."""

import functools
from typing import Any

import rich.console
import rich.table
from flax import nnx
from ml_collections import ConfigDict

from gcnet_jax.analysis import (
    PAPER_ROWS,
    PAPER_SIZE,
    VARIANTS,
    PaperRow,
    image_cost,
    parameter_count,
    select_variant,
)
from gcnet_jax.errors import InputError, UsageError
from gcnet_jax.models import CONTEXT_BLOCKS, ContextPlacement, ResNet
from gcnet_jax.tasks.segmentation.build_model import build_model
from gcnet_jax.tasks.segmentation.data import DATA_SETS

Size = tuple[int, int]


def parse_size(text: str) -> Size:
    """A size as `HEIGHT,WIDTH` in pixels.

    Raises:
        UsageError: it is something else.
    """
    try:
        height, width = (int(part) for part in text.split(","))
    except ValueError:
        height = width = 0
    if height < 1 or width < 1:
        raise UsageError(f"--size is {text!r}; expected HEIGHT,WIDTH in pixels, such as 1024,2048")
    return height, width


def variant_costs(config: ConfigDict, size: Size | None) -> dict[str, Any]:
    """Prints and returns the costs of a config's network with each variant of the context block.

    Args:
        config: of the run.
        size: (height, width) of the image; the crop's if none.
    """
    size = size if size is not None else tuple(config.data.crop_size)
    num_classes = DATA_SETS.meaning(config.data.name, config.data.data_dir).num_classes
    rows, left_out = [], []
    for name in VARIANTS:
        variant = select_variant(config.copy_and_resolve_references(), name)
        build = functools.partial(build_model, variant.model, num_classes=num_classes)
        try:
            rows.append({"variant": name, **_cost(nnx.eval_shape(build), size)})
        except InputError as error:  # a place or a ratio that this network has not
            left_out.append(f"{name}: {error}")

    table = rich.table.Table(
        title=f"one image of {size[0]}x{size[1]}; parameters in millions, multiply-adds in billions"
    )
    table.add_column("variant", no_wrap=True)
    for heading in ("parameters", "added", "multiply-adds", "added"):
        table.add_column(heading, justify="right")
    for row in rows:
        cells = []
        for key, unit in (("parameters", 1e6), ("multiply_adds", 1e9)):
            more = row[key] - rows[0][key]
            cells += [f"{row[key] / unit:.3f}", f"{more / unit:+.4f}"]
        table.add_row(row["variant"], *cells)
    rich.console.Console().print(table)
    if left_out:
        print("\n".join(["variants that this network cannot have:", *left_out]))
    return {"size": list(size), "rows": rows}


def paper_costs(size: Size | None) -> dict[str, Any]:
    """Prints and returns what context blocks add to a ResNet-50, beside the paper's figures.

    Args:
        size: (height, width) of the image; that of the paper's detector if none.
    """
    size = size if size is not None else PAPER_SIZE
    plain = _cost(_backbone(None), size)
    rows = []
    for row in PAPER_ROWS:
        cost = _cost(_backbone(row), size)
        rows.append(
            {
                "name": row.name,
                "parameters": cost["parameters"] - plain["parameters"],
                "paper_parameters": row.parameters,
                "multiply_adds": cost["multiply_adds"] - plain["multiply_adds"],
                "paper_multiply_adds": row.multiply_adds,
            }
        )
    table = rich.table.Table(
        title=f"what context blocks add to a ResNet-50 for one image of {size[0]}x{size[1]}; "
        "parameters in millions, multiply-adds in billions"
    )
    table.add_column("blocks", no_wrap=True)
    for heading in ("params", "paper", "multiply-adds", "paper"):  # all of it in 80 columns
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row["name"],
            f"{row['parameters'] / 1e6:.3f}",
            f"{row['paper_parameters'] / 1e6:.1f}",
            f"{row['multiply_adds'] / 1e9:.3f}",
            f"{row['paper_multiply_adds'] / 1e9:.1f}" if size == PAPER_SIZE else "-",
        )
    rich.console.Console().print(table)
    print("Why the non-local block's multiply-adds differ: docs/analysis.md")
    return {"size": list(size), "rows": rows}


def _backbone(row: PaperRow | None) -> ResNet:
    def build() -> ResNet:
        context = None
        if row is not None:
            block = functools.partial(CONTEXT_BLOCKS[row.block], **row.options, rngs=nnx.Rngs(0))
            context = ContextPlacement(block, row.position, row.stages, row.residual_blocks)
        return ResNet(50, variant="v1b", output_stride=32, context=context, rngs=nnx.Rngs(0))

    return nnx.eval_shape(build)


def _cost(model: nnx.Module, size: Size) -> dict[str, int]:
    return {"parameters": parameter_count(model), "multiply_adds": image_cost(model, size)}
