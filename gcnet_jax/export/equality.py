"""Whether the programs of a file say the same as the model that they are of, on real images."""

import collections
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import rich.table
from jaxtyping import Int32, Shaped, UInt8

from gcnet_jax.errors import InputError
from gcnet_jax.task import RunProgram
from gcnet_jax.task.exported import Size


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far two ways to compute the same may be apart.

    Attributes:
        deviation: of numbers, as a share of the largest of their kind, or of 1 if that is larger.
        differing: the share of classes, and of what else is counted, that may differ.
    """

    deviation: float
    differing: float


TOLERANCES: Mapping[str, Tolerance] = {
    "float32": Tolerance(deviation=1e-3, differing=1e-3),
    "bfloat16": Tolerance(deviation=5e-2, differing=2e-2),
}
"""By the dtype that a network computes in. Pixels between two classes can go either way."""


class NamedImage(NamedTuple):
    """An image as a network sees it.

    Attributes:
        name: for the report.
        pixels: RGB of 8 bits, resized or cut out.
    """

    name: str
    pixels: UInt8[np.ndarray, "h w 3"]


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How far one result of an image is from what it should be.

    Attributes:
        image: its name.
        program: that the result is of.
        result: its name.
        batch: how many images went through the program together.
        deviation: the largest of all numbers, as a share of the largest of these or of 1; 0 of what
            is counted.
        equal: of what is counted, the share that is the same.
        agrees: whether that is within the tolerance.
    """

    image: str
    program: str
    result: str
    batch: int
    deviation: float
    equal: float | None
    agrees: bool


def compare(
    images: Sequence[NamedImage],
    expected: Mapping[str, RunProgram],
    found: Mapping[str, RunProgram],
    tolerance: Tolerance,
) -> list[Agreement]:
    """Sends images through programs of both kinds, those of one shape of arrays together.

    Args:
        images: as the network sees them.
        expected: programs of the model, by their names.
        found: those of the file.
        tolerance: within which they agree.
    """
    return [
        agreement
        for name, program in expected.items()
        for names, arrays in _batches(images, program)
        for agreement in _compared(
            names, name, _computed(program, arrays), _computed(found[name], arrays), tolerance
        )
    ]


def check_agreement(agreements: Sequence[Agreement], tolerance: Tolerance) -> None:
    """Raises InputError where results disagree, which names the worst."""
    if all(one.agrees for one in agreements):
        return
    worst = max((x for x in agreements if not x.agrees), key=_distance)
    found = f"{worst.result} deviate by {worst.deviation:.2g}; expected {tolerance.deviation:g}"
    if worst.equal is not None:
        found = f"{1 - worst.equal:.2%} of {worst.result} are others; expected "
        found += f"{tolerance.differing:.2%}"
    raise InputError(
        f"the exported {worst.program} of {worst.image} differ from the model's: {found} at most. "
        "No file is written"
    )


def agreement_report(agreements: Sequence[Agreement], tolerance: Tolerance) -> dict[str, Any]:
    """All of it as plain JSON, with the worst of each result first."""
    return {
        "agree": all(one.agrees for one in agreements),
        "tolerance": dataclasses.asdict(tolerance),
        "worst": [dataclasses.asdict(one) for one in _worst(agreements)],
        "images": [dataclasses.asdict(one) for one in agreements],
    }


def agreement_table(agreements: Sequence[Agreement]) -> rich.table.Table:
    """The worst of each result as a table, for people."""
    table = rich.table.Table(title="the file beside the model", title_justify="left")
    table.add_column("program")
    table.add_column("result")
    for column in ("images", "largest batch", "largest deviation", "equal"):
        table.add_column(column, justify="right")
    for worst in _worst(agreements):
        same = [x for x in agreements if (x.program, x.result) == (worst.program, worst.result)]
        table.add_row(
            worst.program,
            worst.result,
            str(len(same)),
            str(max(x.batch for x in same)),
            f"{max(x.deviation for x in same):.1e}",
            "" if worst.equal is None else f"{worst.equal:.3%}",
        )
    return table


def _worst(agreements: Sequence[Agreement]) -> list[Agreement]:
    """That of each result which is the furthest from what it should be."""
    worst: dict[tuple[str, str], Agreement] = {}
    for one in agreements:
        key = (one.program, one.result)
        worst[key] = max(worst.get(key, one), one, key=_distance)
    return list(worst.values())


def _distance(agreement: Agreement) -> tuple[float, float]:
    return agreement.deviation, 0.0 if agreement.equal is None else 1 - agreement.equal


def _batches(
    images: Sequence[NamedImage], program: RunProgram
) -> Iterator[tuple[list[str], tuple[np.ndarray, np.ndarray]]]:
    """Yields the names of the images of each shape of arrays, their arrays and their sizes."""
    of_shape: dict[Size, list[NamedImage]] = collections.defaultdict(list)
    for image in images:
        height, width = image.pixels.shape[:2]
        of_shape[program.shapes.for_image((height, width))].append(image)
    for shape, members in of_shape.items():
        arrays = np.zeros((len(members), *shape, 3), np.uint8)
        sizes = np.array([image.pixels.shape[:2] for image in members], np.int32)
        for array, image in zip(arrays, members, strict=True):
            height, width = image.pixels.shape[:2]
            array[:height, :width] = image.pixels
        yield [image.name for image in members], (arrays, sizes)


def _computed(
    program: RunProgram,
    arrays: tuple[UInt8[np.ndarray, "b h w 3"], Int32[np.ndarray, "b 2"]],
) -> dict[str, Shaped[np.ndarray, "b *rest"]]:
    return jax.device_get(dict(program(*arrays)))


def _compared(
    images: Sequence[str],
    program: str,
    expected: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    tolerance: Tolerance,
) -> Iterator[Agreement]:
    for result, right in expected.items():
        mine = found[result]
        if mine.shape != right.shape:
            raise InputError(
                f"the exported {result} have the shape {mine.shape}; the model's {right.shape}. "
                "No file is written"
            )
        for row, image in enumerate(images):
            deviation, equal = _difference(right[row], mine[row])
            agrees = (
                deviation <= tolerance.deviation
                if equal is None
                else 1 - equal <= tolerance.differing
            )
            yield Agreement(image, program, result, len(images), deviation, equal, agrees)


def _difference(right: np.ndarray, mine: np.ndarray) -> tuple[float, float | None]:
    """The largest deviation of numbers; or of what is counted 0, and the share of equals."""
    if right.dtype.kind != "f":
        return 0.0, float((right == mine).mean()) if right.size else 1.0
    if not right.size:
        return 0.0, None
    difference = np.abs(right.astype(np.float64) - mine)
    largest = float(np.nan_to_num(difference, nan=np.inf).max())
    return largest / max(1.0, float(np.abs(right).max())), None
