"""Commands on one device, from another folder: in this process, or one of their own."""

import contextlib
import dataclasses
import importlib
import io
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
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

_SLOW_TO_IMPORT = ("jax", "tensorflow_datasets", "orbax", "matplotlib", "grain", "cv2", "scipy")


@dataclasses.dataclass(frozen=True)
class Finished:
    """What a command has printed, and the status that it ended with."""

    returncode: int
    stdout: str
    stderr: str


def _environment() -> dict[str, str]:
    flags = "--xla_force_host_platform_device_count=1"
    return {**os.environ, "XLA_FLAGS": flags, "COLUMNS": "120"}


@pytest.fixture(scope="session")
def slow_to_import() -> tuple[str, ...]:
    """The modules that no command imports before it has understood its command line."""
    return _SLOW_TO_IMPORT


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """The environment variables of a command on one device."""
    return _environment()


@pytest.fixture(scope="session")
def process(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """`process(script, *arguments)`: a command as a user starts it, on one device.

    It is a process of its own and costs seconds of imports; `command` does the same work.
    """
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def run(script: str, *arguments: object, seconds: float = 300) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, str(root / "scripts" / f"{script}.py"), *map(str, arguments)],
            cwd=elsewhere,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )

    return run


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """`command(script, *arguments)`: runs its `main` in this process, in a folder, to its end."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def run(
        script: str, *arguments: object, devices: int = 1, folder: Path = elsewhere
    ) -> Finished:
        main = importlib.import_module(f"gcnet_jax.cli.{script}").main
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            _alone_on(devices),
            _messages_on(err),
        ):
            status = main([str(argument) for argument in arguments])
        return Finished(status, out.getvalue(), err.getvalue())

    return run


@contextlib.contextmanager
def _alone_on(count: int) -> Iterator[None]:
    """Lets JAX see so many devices, in 120 columns, and leaves malloc as it is."""
    seen = jax.devices()[:count]
    listened = jax.config.jax_enable_preemption_service
    with pytest.MonkeyPatch.context() as patch:
        for name in ("devices", "local_devices"):
            patch.setattr(jax, name, lambda *args, **kwargs: seen)
        patch.setattr(jax, "device_count", lambda *args, **kwargs: count)
        patch.setenv("COLUMNS", "120")
        patch.setenv("GLIBC_TUNABLES", "")
        try:
            yield
        finally:
            jax.config.update("jax_enable_preemption_service", listened)


@contextlib.contextmanager
def _messages_on(stream: io.StringIO) -> Iterator[None]:
    """Writes what is logged to the stream, as a process of a command does."""
    handler = logging.StreamHandler(stream)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


@pytest.fixture(scope="session")
def tiny(root: Path, shapes_dir: Path) -> tuple[str, ...]:
    """The arguments that choose the tiny run."""
    config = root / "configs" / "context_shapes" / "gcnet.py"
    return (f"--config={config}", *TINY, f"--config.data.data_dir={shapes_dir}")


@pytest.fixture(scope="session")
def trained(command: Callable, tiny: tuple, made_once: Callable[..., Path]) -> Path:
    """The workdir of the tiny run, trained without interruption, of all test processes."""

    def train(folder: Path) -> None:
        finished = command("train", *tiny, f"--workdir={folder / 'run'}")
        assert finished.returncode == 0, finished.stderr

    return made_once("trained", train) / "run"


@pytest.fixture(scope="session")
def undisturbed(process: Callable, tiny: tuple, made_once: Callable[..., Path]) -> Path:
    """As `trained`, by a process of its own: how it rounds depends on how many devices JAX has."""

    def train(folder: Path) -> None:
        finished = process("train", *tiny, f"--workdir={folder / 'run'}")
        assert finished.returncode == 0, finished.stderr

    return made_once("undisturbed", train) / "run"


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
