"""Commands as a user starts them: processes of their own, on one device, from another folder."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# A narrow copy of the network on context_shapes and a run of seconds.
TINY = (
    "--config.model.backbone.base_channels=8",
    "--config.model.decode_head.channels=8",
    "--config.training.total_steps=30",
    "--config.training.batch_size=4",
    "--config.training.log_every=1",
    "--config.training.evaluate_every=15",
    "--config.training.checkpoint_every=5",
    "--config.evaluation.batch_size=50",
)


def _environment(devices: int = 1) -> dict[str, str]:
    flags = f"--xla_force_host_platform_device_count={devices}"
    return {**os.environ, "XLA_FLAGS": flags, "COLUMNS": "120"}


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """The environment variables of a command on one device."""
    return _environment()


@pytest.fixture(scope="session")
def command(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """`command(script, *arguments, devices=1)`: runs it to its end and returns the process."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def run(script: str, *arguments: object, devices: int = 1) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, str(root / "scripts" / f"{script}.py"), *map(str, arguments)],
            cwd=elsewhere,
            env=_environment(devices),
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    return run


@pytest.fixture(scope="session")
def tiny(root: Path, shapes_dir: Path) -> tuple[str, ...]:
    """The arguments that choose the tiny run."""
    config = root / "configs" / "context_shapes" / "gcnet.py"
    return (f"--config={config}", *TINY, f"--config.data.data_dir={shapes_dir}")


@pytest.fixture(scope="session")
def trained(command: Callable, tiny: tuple, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workdir of the tiny run, trained without interruption."""
    workdir = tmp_path_factory.mktemp("trained") / "run"
    process = command("train", *tiny, f"--workdir={workdir}")
    assert process.returncode == 0, process.stderr
    return workdir


@pytest.fixture(scope="session")
def fails(command: Callable) -> Callable:
    """`fails(script, *arguments, says=..., code=1)`: it must end with that code and one line."""

    def check(script: str, *arguments: object, says: str, code: int = 1, devices: int = 1) -> None:
        process = command(script, *arguments, devices=devices)
        lines = [line for line in process.stderr.splitlines() if line.strip()]
        assert process.returncode == code, process.stderr
        assert lines, "nothing on stderr"
        assert lines[-1].startswith("error: "), process.stderr
        assert says in lines[-1], lines[-1]
        assert "Traceback" not in process.stderr

    return check
