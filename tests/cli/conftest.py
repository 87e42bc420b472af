"""Commands of the package, and a narrow run that they share."""

import importlib
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import (
    Finished,
    check_failure,
    environment_of_one_device,
    run_as_process,
    run_here,
)

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

# The same of a classifier on context_scenes.
TINY_CLASSIFIER = (
    "--config.model.backbone.base_channels=8",
    "--config.model.backbone.num_stages=1",
    "--config.model.backbone.context.stages=(0,)",
    "--config.optimizer.warmup_steps=5",
    *(x for x in TINY if "training." in x or "evaluation." in x),
)

# The same of a detector on images of any sizes with a few objects.
TINY_DETECTOR = (
    "--config.data.base_scale=(64,32)",
    "--config.model.backbone.base_channels=8",
    "--config.model.backbone.num_stages=1",
    "--config.model.backbone.context.stages=(0,)",
    "--config.model.neck.channels=8",
    "--config.model.rpn.channels=8",
    "--config.model.rpn.train.max_per_image=20",
    "--config.model.rpn.test.max_per_image=20",
    "--config.model.box_head.channels=8",
    "--config.model.box_head.train.samples=16",
    "--config.model.mask_head.channels=8",
    "--config.model.mask_head.convolutions=1",
    "--config.model.test.max_per_image=8",
    "--config.optimizer.warmup_steps=5",
    *(x for x in TINY if "training." in x or "evaluation." in x),
)

_SLOW_TO_IMPORT = ("jax", "tensorflow_datasets", "orbax", "matplotlib", "grain", "cv2", "scipy")


@pytest.fixture(scope="session")
def slow_to_import() -> tuple[str, ...]:
    """The modules that no command imports before it has understood its command line."""
    return _SLOW_TO_IMPORT


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """The environment variables of a command on one device."""
    return environment_of_one_device()


@pytest.fixture(scope="session")
def process(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """`process(script, *arguments)`: a command as a user starts it, see `run_as_process`."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def run(script: str, *arguments: object, seconds: float = 300) -> subprocess.CompletedProcess:
        program = (root / "scripts" / f"{script}.py", *arguments)
        return run_as_process(program, elsewhere, seconds=seconds)

    return run


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """`command(script, *arguments)`: runs its `main` in this process, in a folder, to its end."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def run(
        script: str, *arguments: object, devices: int = 1, folder: Path = elsewhere
    ) -> Finished:
        main = importlib.import_module(f"gcnet_jax.cli.{script}").main
        return run_here(main, arguments, folder, devices=devices)

    return run


@pytest.fixture(scope="session")
def tiny(root: Path, shapes_dir: Path) -> tuple[str, ...]:
    """The arguments that choose the tiny run."""
    config = root / "configs" / "context_shapes" / "gcnet.py"
    return (f"--config={config}", *TINY, f"--config.data.data_dir={shapes_dir}")


@pytest.fixture(scope="session")
def tiny_classifier(root: Path, scenes_dir: Path) -> tuple[str, ...]:
    """The same of a classifier."""
    config = root / "configs" / "context_scenes" / "gcnet.py"
    return (f"--config={config}", *TINY_CLASSIFIER, f"--config.data.data_dir={scenes_dir}")


@pytest.fixture(scope="session")
def trained(command: Callable, tiny: tuple, made_once: Callable[..., Path]) -> Path:
    """The workdir of the tiny run, trained without interruption, of all test processes."""

    def train(folder: Path) -> None:
        finished = command("train", *tiny, f"--workdir={folder / 'run'}")
        assert finished.returncode == 0, finished.stderr

    return made_once("trained", train) / "run"


@pytest.fixture(scope="session")
def undisturbed(process: Callable, tiny: tuple, made_once: Callable[..., Path]) -> Path:
    """A run of a process of its own: how it rounds depends on how many devices JAX has."""

    def train(folder: Path) -> None:
        finished = process("train", *tiny, f"--workdir={folder / 'run'}")
        assert finished.returncode == 0, finished.stderr

    return made_once("undisturbed", train) / "run"


@pytest.fixture(
    scope="session",
    params=["segmentation", pytest.param("classification", marks=pytest.mark.campaign)],
)
def of_each_task(
    request: pytest.FixtureRequest, process: Callable, made_once: Callable[..., Path]
) -> tuple[tuple[str, ...], Path]:
    """A tiny run of a task: its arguments, and the workdir of one that nothing has disturbed."""
    if request.param == "segmentation":
        return request.getfixturevalue("tiny"), request.getfixturevalue("undisturbed")
    arguments = request.getfixturevalue("tiny_classifier")

    def train(folder: Path) -> None:
        finished = process("train", *arguments, f"--workdir={folder / 'run'}")
        assert finished.returncode == 0, finished.stderr

    return arguments, made_once("undisturbed_classifier", train) / "run"


@pytest.fixture(scope="session")
def fails(command: Callable) -> Callable:
    """`fails(script, *arguments, says=..., code=1)`: it must end with that code and one line."""

    def check(script: str, *arguments: object, says: str, code: int = 1, devices: int = 1) -> None:
        check_failure(command(script, *arguments, devices=devices), says=says, code=code)

    return check
