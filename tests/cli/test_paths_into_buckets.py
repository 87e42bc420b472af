"""Paths that a command cannot follow end in one line, and never in a local folder "gs:"."""

import os
import subprocess
import sys

import pytest

GS = "gs://some-bucket/place"
NEEDS_GCSFS = "needs gcsfs: pip install 'gcnet-jax[gcs]'"
slow = pytest.mark.slow


@pytest.fixture
def without_gcsfs(tmp_path):
    """A folder of modules in which gcsfs cannot be imported, wherever else it is installed."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "gcsfs.py").write_text("raise ImportError('not here')\n")
    return tmp_path / "modules"


@pytest.mark.parametrize(
    ("script", "arguments", "says"),
    [
        ("train", ("CONFIG", f"--workdir={GS}"), NEEDS_GCSFS),
        ("prepare_dataset", ("context_shapes", f"--data_dir={GS}"), "expected a local folder"),
        ("evaluate", ("CONFIG", "--workdir=s3://bucket/run"), "neither a local path nor gs://"),
        pytest.param(
            "train",
            ("CONFIG", "--workdir=run", f"--config.data.data_dir={GS}"),
            NEEDS_GCSFS,
            marks=slow,
        ),
        pytest.param("evaluate", ("CONFIG", f"--workdir={GS}"), NEEDS_GCSFS, marks=slow),
        pytest.param(
            "evaluate",
            ("CONFIG", "--workdir=run", f"--output={GS}/a.json"),
            NEEDS_GCSFS,
            marks=slow,
        ),
        pytest.param(
            "predict",
            ("CONFIG", "--workdir=run", f"--output_dir={GS}", "photo.jpg"),
            NEEDS_GCSFS,
            marks=slow,
        ),
        pytest.param(
            "predict",
            ("CONFIG", "--workdir=run", "--output_dir=out", f"{GS}/photo.jpg"),
            NEEDS_GCSFS,
            marks=slow,
        ),
        pytest.param(
            "convert_checkpoint",
            ("CONFIG", "--source=a", f"--output={GS}"),
            NEEDS_GCSFS,
            marks=slow,
        ),
        pytest.param(
            "convert_checkpoint",
            ("CONFIG", f"--source={GS}", "--output=a"),
            NEEDS_GCSFS,
            marks=slow,
        ),
        pytest.param("analyze_context", ("cost", f"--output_dir={GS}"), NEEDS_GCSFS, marks=slow),
        pytest.param("ablate", ("CONFIG", f"--output_dir={GS}"), NEEDS_GCSFS, marks=slow),
        pytest.param("benchmarks", ("input", "CONFIG", f"--output={GS}"), NEEDS_GCSFS, marks=slow),
        pytest.param("collect_results", (f"--runs={GS}",), NEEDS_GCSFS, marks=slow),
        pytest.param("quickstart", (f"--output_dir={GS}",), "expected a local folder", marks=slow),
        pytest.param(
            "prepare_dataset", ("camvid", f"--source={GS}"), "expected a local folder", marks=slow
        ),
    ],
)
def test_one_line_says_what_is_missing_and_nothing_is_made(
    script, arguments, says, root, shapes_dir, tmp_path, without_gcsfs
):
    config = root / "configs" / "context_shapes" / "gcnet.py"
    arguments = [f"--config={config}" if a == "CONFIG" else a for a in arguments]
    if script in ("train", "evaluate", "ablate") and not any("data_dir" in a for a in arguments):
        arguments.append(f"--config.data.data_dir={shapes_dir}")
    folder = tmp_path / "here"
    folder.mkdir()
    paths = [str(without_gcsfs), str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    file = root / "scripts" / f"{script}.py"
    program = [str(file)] if file.exists() else ["-m", script]
    process = subprocess.run(
        [sys.executable, *program, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": ":".join(paths)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert process.returncode == 1, process.stderr
    last = process.stderr.strip().splitlines()[-1]
    assert last.startswith("error: "), process.stderr
    assert says in last
    assert "Traceback" not in process.stderr
    left = [path.name for path in folder.rglob("*")]
    assert not [name for name in left if ":" in name], left
