"""The table of published and own results, written into a copy of the page."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.segmentation.split_evaluation import inference_settings
from gcnet_jax.training import evaluation_settings
from scripts import collect_results
from tests.commands import run_here

RUN = "gcnet_r50-d8_4xb2-40k_cityscapes-512x1024"
CONFIG = load_config(Path(__file__).parents[1] / "configs" / "gcnet" / f"{RUN}.py")
EVALUATION = {
    "dataset": "cityscapes",
    "split": "val",
    "images": 500,
    "settings": evaluation_settings(CONFIG, inference_settings(CONFIG, multi_scale=False)),
    "summary": {"mIoU": 0.77124},
}
NARROW = copy.deepcopy(EVALUATION["settings"])
NARROW["model"]["backbone"]["base_channels"] = 8


@pytest.fixture
def page(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(root / "docs" / "results.md", tmp_path / "results.md"))


@pytest.fixture
def collect(root: Path, page: Path, tmp_path: Path) -> Callable:
    """`collect(runs)`: fills the copied page from a folder of runs."""
    configs = root / "configs" / "gcnet"
    return lambda runs: run_here(
        collect_results.main,
        [f"--runs={runs}", f"--page={page}", f"--configs={configs}"],
        tmp_path,
    )


def write(folder: Path, run: str = RUN, name: str = "evaluation_val.json", **changes) -> Path:
    (folder / run).mkdir(parents=True, exist_ok=True)
    file = folder / run / name
    file.write_text(json.dumps(EVALUATION | changes))
    return file


def rows(page: Path) -> dict[str, list[str]]:
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.read_text().splitlines()
        if line.startswith("| [gcnet")
    ]
    return {row[0].partition("]")[0].strip("["): row[1:] for row in cells}


def test_runs_fill_their_columns_and_the_rest_of_the_page_stays(
    collect: Callable, page: Path, tmp_path: Path
):
    write(tmp_path / "runs")
    settings = evaluation_settings(CONFIG, inference_settings(CONFIG, multi_scale=True))
    tta = {"name": "evaluation_val_tta.json", "settings": settings, "summary": {"mIoU": 0.8}}
    write(tmp_path / "runs", **tta)
    before = page.read_text()
    process = collect(tmp_path / "runs")
    assert process.returncode == 0, process.stderr
    assert "2 of 32 figures" in process.stdout
    table = rows(page)
    assert len(table) == 16
    assert table.pop(RUN) == ["77.69", "77.12", "78.56", "80.00"]
    assert all(row[1] == row[3] == "" for row in table.values())
    kept = [line for line in page.read_text().splitlines() if not line.startswith("| [gcnet")]
    assert kept == [line for line in before.splitlines() if not line.startswith("| [gcnet")]


def test_the_pages_table_is_that_of_the_published_figures(root: Path):
    published = json.loads((root / "tests" / "models" / "published_results.json").read_text())
    table = rows(root / "docs" / "results.md")
    assert table.keys() == published.keys()
    for run, (single, _, multiple, _) in table.items():
        assert (float(single), float(multiple)) == (
            published[run]["miou"],
            published[run]["miou_ms_flip"],
        )


def test_an_evaluation_of_a_version_that_did_not_say_the_precision_is_taken(
    collect: Callable, page: Path, tmp_path: Path
):
    settings = {key: x for key, x in EVALUATION["settings"].items() if key != "dtype"}
    write(tmp_path / "runs", settings=settings)
    process = collect(tmp_path / "runs")
    assert process.returncode == 0, process.stderr
    assert rows(page)[RUN][1] == "77.12"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"images": 499}, "images: 500 -> 499"),
        ({"dataset": "camvid"}, "dataset: cityscapes -> camvid"),
        ({"settings": EVALUATION["settings"] | {"base_scale": [96, 48]}}, "[96, 48]"),
        ({"settings": EVALUATION["settings"] | {"dtype": "bfloat16"}}, "float32 -> bfloat16"),
        ({"settings": NARROW}, "settings.model.backbone.base_channels: 64 -> 8"),
        ({"summary": {}}, "no whole evaluation"),
    ],
)
def test_an_evaluation_of_something_else_is_named_and_the_page_left(
    collect: Callable, page: Path, tmp_path: Path, changes: dict, says: str
):
    file, before = write(tmp_path / "runs", **changes), page.read_text()
    process = collect(tmp_path / "runs")
    assert process.returncode == 1
    assert str(file) in process.stderr
    assert says in process.stderr
    assert page.read_text() == before


def test_a_page_without_a_place_for_the_table_is_named(
    collect: Callable, page: Path, tmp_path: Path
):
    page.write_text("# Results\n")
    process = collect(tmp_path)
    assert process.returncode == 1
    assert "no place for the table" in process.stderr
    assert page.read_text() == "# Results\n"


def test_a_folder_without_evaluations_leaves_the_page_as_it_is(
    collect: Callable, page: Path, tmp_path: Path
):
    (tmp_path / "runs").mkdir()
    before = page.read_text()
    process = collect(tmp_path / "runs")
    assert process.returncode == 1
    assert "no evaluation of a published run" in process.stderr
    assert page.read_text() == before
