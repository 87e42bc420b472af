"""Whether the programs of a file say the same as the model that they are of, on real images."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import rich.table
from jaxtyping import Int32, Shaped, UInt8

from gcnet_jax.errors import InputError
from gcnet_jax.task import CompiledProgram, RunProgram, Tolerance, at_top_left

TOLERANCES: Mapping[str, Tolerance] = {
    "float32": Tolerance(deviation=1e-3, pixels=0.1, differing=1e-3),
    "bfloat16": Tolerance(deviation=5e-2, pixels=2, differing=2e-2),
}
"""What is allowed, by the dtype that a network computes in; near ties can go either way."""

_BATCH = 2
"""Images at a time: the fewest that show that a file takes more than one."""


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
        array: height and width of the array that it went through.
        result: what was compared.
        batch: how many images went through the program together.
        deviation: the largest of its numbers; None where there are classes alone.
        unit: of the deviation, for people; empty of shares from 0 to 1.
        equal: the share of classes or objects that are the same; None where there are numbers
            alone.
        agrees: whether that is within the tolerance.
    """

    image: str
    program: str
    array: tuple[int, int]
    result: str
    batch: int
    deviation: float | None
    unit: str
    equal: float | None
    agrees: bool


def compare(
    images: Iterable[NamedImage],
    model: Mapping[str, CompiledProgram],
    found: Mapping[str, RunProgram],
    tolerance: Tolerance,
    tell: Callable[[str], None],
) -> list[Agreement]:
    """Sends images through programs of both kinds, two at a time.

    Two that follow each other in arrays of one shape go together, others beside themselves.

    Args:
        images: as the network sees them; they are taken when their turn comes.
        model: programs of the model, by their names, with arrays of the same shapes.
        found: those of the file, at least of these names.
        tolerance: within which they agree.
        tell: is told what is done next, for people.

    Raises:
        InputError: there are no images, or a result has another shape than the model's.
    """
    agreements: list[Agreement] = []
    for batch in _batches(images, next(iter(model.values()))):
        for name, program in model.items():
            tell(f"comparing {name} of {' and '.join(batch.names)}")
            agreements += _compared(batch, name, program, found[name], tolerance)
    if not agreements:
        raise InputError("there are no images to compare the file with the model on")
    return agreements


def check_agreement(agreements: Sequence[Agreement], tolerance: Tolerance) -> None:
    """Raises InputError where results disagree, which names the worst."""
    if all(one.agrees for one in agreements):
        return
    worst = max((x for x in agreements if not x.agrees), key=_distance)
    found = []
    if worst.equal is not None:
        found.append(f"{1 - worst.equal:.2%} are others (at most {tolerance.differing:.2%})")
    if worst.deviation is not None:
        most = tolerance.pixels if worst.unit == "pixels" else tolerance.deviation
        unit = f" {worst.unit}" if worst.unit else ""
        found.append(f"they deviate by {worst.deviation:.2g}{unit} (at most {most:g})")
    raise InputError(
        f"the exported {worst.result} of {worst.image} differ from the model's: "
        f"{' and '.join(found)}. No file is written"
    )


def arrays_without_image(
    agreements: Sequence[Agreement], model: Mapping[str, RunProgram]
) -> dict[str, list[list[int]]]:
    """The heights and widths of arrays that no image was compared in, by the names of programs."""
    without = {
        name: [
            [*shape]
            for shape in program.shapes.only
            if shape not in {one.array for one in agreements if one.program == name}
        ]
        for name, program in model.items()
    }
    return {name: shapes for name, shapes in without.items() if shapes}


def agreement_report(
    agreements: Sequence[Agreement], tolerance: Tolerance, model: Mapping[str, RunProgram]
) -> dict[str, Any]:
    """What was compared, and how far it may be apart, as plain JSON.

    Under `worst` is the image of each result that is the furthest from the model, under `images`
    are all of them, and under `not_compared` the arrays that no image went through.
    """
    return {
        "agree": all(one.agrees for one in agreements),
        "tolerance": dataclasses.asdict(tolerance),
        "not_compared": arrays_without_image(agreements, model),
        "worst": [dataclasses.asdict(one) for one in _worst(agreements)],
        "images": [dataclasses.asdict(one) for one in agreements],
    }


def agreement_table(agreements: Sequence[Agreement]) -> rich.table.Table:
    """The worst of each result as a table, for people."""
    table = rich.table.Table(title="the file beside the model", title_justify="left")
    table.add_column("result", no_wrap=True)
    for column in ("images", "arrays", "batch", "largest deviation", "fewest equal"):
        table.add_column(column, justify="right")
    for worst in _worst(agreements):
        same = [x for x in agreements if (x.program, x.result) == (worst.program, worst.result)]
        deviations = [x.deviation for x in same if x.deviation is not None]
        equal = [x.equal for x in same if x.equal is not None]
        table.add_row(
            worst.result,
            str(len(same)),
            str(len({x.array for x in same})),
            str(max(x.batch for x in same)),
            f"{max(deviations):.1e} {worst.unit}".rstrip() if deviations else "",
            f"{min(equal):.3%}" if equal else "",
        )
    return table


def _worst(agreements: Sequence[Agreement]) -> list[Agreement]:
    """The agreement of each result that is the furthest from what it should be."""
    worst: dict[tuple[str, str], Agreement] = {}
    for one in agreements:
        key = (one.program, one.result)
        worst[key] = max(worst.get(key, one), one, key=_distance)
    return list(worst.values())


def _distance(agreement: Agreement) -> tuple[bool, float, float]:
    return (
        not agreement.agrees,
        0.0 if agreement.equal is None else 1 - agreement.equal,
        agreement.deviation or 0.0,
    )


class _Batch(NamedTuple):
    """Images that go through together, of which `names` are of the first rows."""

    names: list[str]
    arrays: UInt8[np.ndarray, "b h w 3"]
    sizes: Int32[np.ndarray, "b 2"]


def _batches(images: Iterable[NamedImage], program: RunProgram) -> Iterator[_Batch]:
    """Yields images that follow each other in arrays of one shape, as many as make a batch."""
    waiting: list[NamedImage] = []
    for image in images:
        if waiting and _shape(image, program) != _shape(waiting[0], program):
            yield _batch(waiting, program)
            waiting = []
        waiting.append(image)
        if len(waiting) == _BATCH:
            yield _batch(waiting, program)
            waiting = []
    if waiting:
        yield _batch(waiting, program)


def _shape(image: NamedImage, program: RunProgram) -> tuple[int, int]:
    return program.shapes.for_image(image.pixels.shape[:2])  # type: ignore[arg-type]


def _batch(images: Sequence[NamedImage], program: RunProgram) -> _Batch:
    """A whole batch: what lacks is the last image once more."""
    rows = [*images, *[images[-1]] * (_BATCH - len(images))]
    shape = _shape(images[0], program)
    return _Batch(
        [image.name for image in images],
        np.stack([at_top_left(image.pixels, shape) for image in rows]),
        np.array([image.pixels.shape[:2] for image in rows], np.int32),
    )


def _computed(program: RunProgram, batch: _Batch) -> dict[str, Shaped[np.ndarray, "b *rest"]]:
    return jax.device_get(dict(program(batch.arrays, batch.sizes)))


def _compared(
    batch: _Batch,
    name: str,
    model: CompiledProgram,
    program: RunProgram,
    tolerance: Tolerance,
) -> Iterator[Agreement]:
    expected, found = _computed(model, batch), _computed(program, batch)
    for result, right in expected.items():
        if found[result].shape != right.shape:
            raise InputError(
                f"the exported {result} have the shape {found[result].shape}; the model's "
                f"{right.shape}. No file is written"
            )
    shape = (batch.arrays.shape[1], batch.arrays.shape[2])
    for row, image in enumerate(batch.names):
        right, mine = ({result: x[row] for result, x in of.items()} for of in (expected, found))
        height, width = batch.sizes[row].tolist()
        for difference in model.measure(right, mine, (height, width), tolerance):
            yield Agreement(image, name, shape, batch=len(batch.arrays), **difference._asdict())
