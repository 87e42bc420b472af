import os
import re
import subprocess
import sys

import nbclient
import nbformat
import pytest
from flax import nnx

from benchmarks.command import BENCHMARKS
from gcnet_jax.analysis import parameter_count
from gcnet_jax.cli.gcnet import VERBS
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.segmentation.build_model import build_model


def blocks(path):
    return "\n".join(re.findall(r"```(?:bash|sh|python)\n(.*?)```", path.read_text(), re.S))


def test_what_the_readme_and_docs_name_is_there(root):
    for page in [root / "README.md", *(root / "docs").glob("*.md")]:
        text = page.read_text()
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
        for script in re.findall(r"(?:python )?(scripts/\w+\.\w+)", blocks(page)):
            assert (root / script).exists(), f"{page.name} names {script}"
        for module in re.findall(r"python -m (benchmarks|tests\.\w+)", text):
            assert (root / module.replace(".", "/") / "__main__.py").exists()
        for benchmark in re.findall(r"python -m benchmarks (\w+)", blocks(page)):
            assert benchmark in BENCHMARKS, f"{page.name} names python -m benchmarks {benchmark}"
        for verb in re.findall(r"(?m)^\s*(?:srun )?gcnet (\w+)", blocks(page)):
            assert verb in VERBS, f"{page.name} names gcnet {verb}"
        for file in re.findall(r"((?:benchmarks|configs|gcnet_jax|tests)/[\w./-]+\.py)", text):
            assert (root / file).exists(), f"{page.name} names {file}"


def test_every_kind_of_fault_names_tests_that_are_there(root):
    page = (root / "docs" / "reliability.md").read_text()
    rows = re.findall(r"^\| .*`tests/.* \|$", page, re.M)
    assert len(rows) > 10
    for row in rows:
        for file, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row):
            assert f"def {test}(" in (root / file).read_text(), f"{row} names {file}::{test}"


def test_the_files_of_the_task_on_the_page_on_extending_are_about_as_long_as_it_says(root):
    page = (root / "docs" / "extending.md").read_text()
    rows = re.findall(r"^\| `(\w+\.py)` \| (\d+) \|", page, re.M)
    assert len(rows) == 6
    for file, lines in rows:
        text = (root / "gcnet_jax" / "tasks" / "classification" / file).read_text()
        assert text.count("\n") == pytest.approx(int(lines), rel=0.1), file


def python_of(page):
    """The examples of a page that need no trained run, and no weights from the network."""
    examples = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
    return "\n".join(
        example for example in examples if not re.search(r'"runs/|load\("mask', example)
    )


@pytest.mark.parametrize(
    "page", ["README.md", "docs/context_blocks.md", "docs/detection.md", "docs/evaluation.md"]
)
def test_the_python_of_a_page_runs(root, page):
    examples = python_of(root / page)
    assert examples
    process = subprocess.run(
        [sys.executable, "-c", examples], cwd=root, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr


@pytest.mark.slow
def test_the_block_of_the_page_on_extending_trains_by_its_config_line(root, tmp_path, shapes_dir):
    page = root / "docs" / "extending.md"
    (tmp_path / "channel_attention.py").write_text(python_of(page))
    (line,) = re.findall(r"--config\.model\.decode_head\.context\.block=\S+", page.read_text())
    process = subprocess.run(
        [
            sys.executable,
            str(root / "scripts" / "train.py"),
            f"--config={root / 'configs' / 'context_shapes' / 'gcnet.py'}",
            line,
            "--config.model.decode_head.channels=8",
            "--config.training.total_steps=2",
            "--config.training.batch_size=4",
            "--config.evaluation.batch_size=100",
            f"--config.data.data_dir={shapes_dir}",
            f"--workdir={tmp_path / 'run'}",
        ],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    parameters = int(re.search(r"([\d,]+) parameters", process.stdout)[1].replace(",", ""))
    config = load_config(root / "configs" / "context_shapes" / "fcn.py")
    config.model.decode_head.channels = 8
    without = nnx.eval_shape(lambda: build_model(config.model, num_classes=7))
    kernel_size = 3
    assert parameters == parameter_count(without) + kernel_size


def test_importing_the_package_needs_neither_tensorflow_nor_torch():
    code = "import gcnet_jax, sys; print([m for m in ('tensorflow', 'torch') if m in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout.strip() == "[]", process.stderr


@pytest.mark.parametrize("name", ["Segmentor", "create_model", "functional", "normalize_images"])
def test_public_names_are_documented(name):
    import gcnet_jax

    assert name in gcnet_jax.__all__
    assert (getattr(gcnet_jax, name).__doc__ or "").strip()


def test_the_api_page_is_made_from_todays_docstrings(root):
    script = root / "scripts" / "api_page.py"
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import runpy; print(runpy.run_path({str(script)!r})['page'](), end='')",
        ],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == (root / "docs" / "api.md").read_text(), "run scripts/api_page.py"


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(root, tmp_path):
    notebook = nbformat.read(root / "docs" / "quickstart.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # they would age
    (parameters,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    tiny = f"\nTOTAL_STEPS = 2\nFOLDER = {str(tmp_path)!r}"
    parameters.source += tiny
    client = nbclient.NotebookClient(notebook, resources={"metadata": {"path": str(root)}})
    client.execute()
    assert any("image/png" in output.get("data", ()) for output in notebook.cells[-1].outputs)
