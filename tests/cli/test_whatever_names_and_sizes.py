"""From a folder of photographs and masks to predictions, whatever names and sizes they have.

Each example is the whole way: prepare, train two steps, evaluate, predict. What the commands take
they must do without loss, and what they don't take they must say in one line.
"""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.commands import Finished

NETWORK = (
    "--config.model.backbone.base_channels=4",
    "--config.model.decode_head.channels=4",
    "--config.data.crop_size=(32,32)",
    "--config.data.base_scale=(48,32)",
    "--config.training.total_steps=2",
    "--config.training.batch_size=2",
    "--config.evaluation.batch_size=1",
    "--config.evaluation.split=val",
)
# Few sizes, for every size is a program to compile; the smallest that there is, and thin ones.
SIZES = st.sampled_from([(1, 1), (1, 40), (33, 2), (7, 5), (24, 32)])

# What file systems take: any bytes but zero and "/", not too many. Hidden files are not images.
FILE_NAMES = st.binary(min_size=1, max_size=40).map(
    lambda raw: os.fsdecode(raw.translate(None, b"\0/").lstrip(b".")) or "x"
)
FOLDER_NAMES = st.text(st.sampled_from("ab[]{}*?\\ $%~'\"é;&"), min_size=1, max_size=8)
CLASS_NAMES = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Cn", "Co"]), min_size=1, max_size=12
)
HEADERS = st.sampled_from(
    [
        "name",
        "Name",
        " name",
        "name,red,green,blue",
        "name, red, green, blue",
        "NAME,Red,Green,Blue",
    ]
)


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def write_source(
    root: Path, names: list[str], sizes: list[tuple[int, int]], header: str, classes: list[str]
) -> None:
    """Writes three images a split, with masks, and a table of the classes."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for name, size in zip(names, sizes, strict=True):
            image = cv2.imencode(".png", rng.integers(0, 255, (*size, 3), np.uint8))[1]
            mask = rng.integers(0, len(classes), size, np.uint8)
            mask.flat[: len(classes)] = range(min(len(classes), mask.size))
            for kind, encoded in (("images", image), ("masks", cv2.imencode(".png", mask)[1])):
                (root / kind / split / f"{name}.png").write_bytes(encoded.tobytes())
    colours = [f",{i},2,3" if "," in header else "" for i in range(len(classes))]
    rows = "".join(f"{quoted(n)}{colour}\n" for n, colour in zip(classes, colours, strict=True))
    (root / "classes.csv").write_text(f"{header}\n{rows}", encoding="utf-8")


def check_said(finished: Finished) -> bool:
    """Whether it was done; if not, one line must have said why."""
    assert "Traceback" not in finished.stderr, finished.stderr
    if finished.returncode == 0:
        return True
    lines = [line for line in finished.stderr.splitlines() if line.strip()]
    assert finished.returncode in (1, 2), finished.stderr
    assert [line.startswith("error: ") for line in lines].count(True) == 1, finished.stderr
    assert len(lines[-1]) > len("error: ")
    return False


def go_all_the_way(
    command: Callable,
    root: Path,
    where: Path,
    names: list[str],
    sizes: list[tuple[int, int]],
    header: str,
    classes: list[str],
) -> bool:
    """Whether it came to predictions, rather than to a refusal."""
    source, data, run = where / "source", where / "data", where / "run"
    write_source(source, names, sizes, header, classes)
    prepared = command(
        "prepare_dataset",
        "folder",
        "--name=own",
        f"--source={source}",
        *(f"--images={split}=images/{split}/*.png" for split in ("train", "val")),
        *(f"--masks={split}=masks/{split}/*.png" for split in ("train", "val")),
        f"--classes={source / 'classes.csv'}",
        f"--data_dir={data}",
    )
    if not check_said(prepared):
        return False
    config = (
        f"--config={root / 'configs' / 'context_shapes' / 'gcnet.py'}",
        *NETWORK,
        "--config.data.name=own",
        f"--config.data.data_dir={data}",
    )
    if not check_said(command("train", *config, f"--workdir={run}")):
        assert not (run / "checkpoints").exists(), "it must be refused before the first step"
        return False
    assert (run / "checkpoints" / "2").is_dir()
    evaluated = command("evaluate", *config, f"--workdir={run}")
    assert evaluated.returncode == 0, evaluated.stderr
    counted = np.array(json.loads((run / "evaluation_val.json").read_text())["confusion"])
    assert counted.sum() == sum(height * width for height, width in sizes)
    photos = source / "images" / "val"
    output = where / "predictions"
    predicted = command("predict", *config, f"--workdir={run}", f"--output_dir={output}", photos)
    assert predicted.returncode == 0, predicted.stderr
    for name, size in zip(names, sizes, strict=True):
        encoded = (output / f"{name}_label.png").read_bytes()
        assert cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR).shape[:2] == size
    return True


ALLOWED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]
JOURNEY = {
    "names": st.lists(FILE_NAMES, min_size=3, max_size=3, unique=True),
    "sizes": st.tuples(st.just((24, 32)), SIZES, SIZES).map(list),
    "folder": FOLDER_NAMES,
    "header": HEADERS,
    "classes": st.lists(CLASS_NAMES, min_size=2, max_size=4, unique=True),
}


@pytest.fixture
def journey(command, root):
    """`journey(**what)`: `go_all_the_way` below a folder of that name."""

    def go(folder: str, **what) -> bool:
        with tempfile.TemporaryDirectory() as temporary:
            where = Path(temporary) / folder
            where.mkdir()
            return go_all_the_way(command, root, where, **what)

    return go


@pytest.mark.parametrize("folder", ["w[a]z", pytest.param("{a}*?", marks=pytest.mark.campaign)])
def test_names_that_are_patterns_markup_or_not_utf8_get_through(journey, folder):
    assert journey(
        folder,
        names=["caf\udce9", "[x]", "a b"],
        sizes=[(24, 32), (1, 1), (33, 2)],
        header="name, red, green, blue",
        classes=["[/road]", "$x^{$", "\u8def"],
    )


@pytest.mark.slow
@settings(max_examples=2, suppress_health_check=ALLOWED, phases=[Phase.explicit, Phase.generate])
@given(**JOURNEY)
def test_whatever_comes_is_done_without_loss_or_refused_in_one_line(journey, **what):
    journey(**what)


@pytest.mark.campaign
@settings(max_examples=60, suppress_health_check=ALLOWED)
@given(**JOURNEY)
def test_it_is_so_many_times(journey, **what):
    journey(**what)
