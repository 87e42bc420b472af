"""Examples of jsons in COCO's format, once everything that is wrong with them is known."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from etils import epath
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from gcnet_jax.config import Orientation
from gcnet_jax.data.examples import Examples
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.data.sources.annotated_files import AnnotatedFile, AnnotationTable
from gcnet_jax.tasks.detection.data.sources.coco_annotations import (
    Segmented,
    read_annotations,
    refuse_left_out,
)
from gcnet_jax.tasks.detection.data.sources.coco_categories import check_same_classes
from gcnet_jax.tasks.detection.data.sources.coco_images import Described, read_images
from gcnet_jax.tasks.detection.data.sources.faults import AnnotationFaults, Faults


class CocoFiles(NamedTuple):
    """A json with the images that it describes.

    Attributes:
        annotations: the json.
        images: the folder that its names of files start from.
    """

    annotations: epath.Path
    images: epath.Path


class Checks(NamedTuple):
    """How jsons and images are checked.

    Attributes:
        max_pixels: most pixels of an image.
        orientation: whether annotations were made on images as they are displayed or as they are
            stored, where these differ by EXIF and sizes fit both; None where nobody has said.
        strict: whether what would be left out of training is refused, see `refuse_left_out`.
        may_lack: whether images may be missing, which are left out then.
        skip_short: whether polygons of too few corners are passed over where others are left.
    """

    max_pixels: int
    orientation: Orientation | None = None
    strict: bool = False
    may_lack: bool = False
    skip_short: bool = False


class Found(NamedTuple):
    """What jsons describe.

    Attributes:
        classes: their categories.
        has_masks: whether their annotations have segmentations.
        examples: of each split, in the order of its json.
    """

    classes: ObjectClasses
    has_masks: bool
    examples: Examples


def find_examples(
    splits: Mapping[str, CocoFiles], checks: Checks, classes: ObjectClasses | None = None
) -> Found:
    """Reads the jsons of all splits, and looks for their images.

    Args:
        splits: of each its files.
        checks: what to refuse.
        classes: those that the categories of all splits must be among; by default those of the
            first split.

    Raises:
        AnnotationFaults: something is not as expected; all of it is listed.
    """
    faults, segmented = Faults(), Segmented()
    described: dict[str, Described] = {}
    with _progress(splits) as progress:
        for split, files in splits.items():
            try:
                described[split] = _read_images(files, faults, checks, progress[split])
            except InputError as error:
                faults.add_error("files that cannot be read", error)
        reference = "the official set"
        tables: dict[str, AnnotationTable] = {}
        for split, of_split in described.items():
            path = splits[split].annotations
            if classes is None:
                classes, reference = of_split.classes, str(path)
            check_same_classes(path, of_split.classes, reference, classes, faults)
            tables[split] = read_annotations(
                path,
                of_split,
                classes,
                segmented,
                faults,
                skip_short=checks.skip_short,
                advance=progress[split],
            )
            if checks.strict:
                refuse_left_out(path, of_split.images, tables[split], faults)
    if segmented.number:
        faults.add_all(segmented.lacking)
    faults.raise_if_any()
    assert classes is not None  # without any split there would have been nothing to look for
    examples = {
        split: [
            AnnotatedFile(
                image.name,
                splits[split].images,
                image.image_id,
                number,
                tables[split],
                image.size,
                image.orientation,
                checks.max_pixels,
            )
            for number, image in enumerate(of_split.images)
        ]
        for split, of_split in described.items()
    }
    return Found(classes, segmented.number > 0, examples)


def _read_images(
    files: CocoFiles, faults: Faults, checks: Checks, advance: Callable[[int], None]
) -> Described:
    return read_images(
        files.annotations,
        files.images,
        faults,
        max_pixels=checks.max_pixels,
        orientation=checks.orientation,
        may_lack=checks.may_lack,
        advance=advance,
    )


@contextlib.contextmanager
def faults_listed() -> Iterator[None]:
    """Lists on stderr all that is wrong with annotation files, of which a message names the first.

    Raises:
        AnnotationFaults: as it was raised within.
    """
    try:
        yield
    except AnnotationFaults as error:
        console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        for line in error.listed:
            console.print(line)
        raise


@contextlib.contextmanager
def _progress(splits: Mapping[str, CocoFiles]) -> Iterator[dict[str, Callable[[int], None]]]:
    """Shows how far the jsons are read, each of them twice: what to call with new characters."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as progress:
        tasks = {
            split: progress.add_task(f"Checking {split:5}", total=_twice_its_size(files))
            for split, files in splits.items()
        }
        yield {split: functools.partial(progress.advance, task) for split, task in tasks.items()}


def _twice_its_size(files: CocoFiles) -> int | None:
    try:
        return 2 * files.annotations.stat().length
    except OSError:  # it is named when it is read
        return None
