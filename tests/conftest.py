"""Set before JAX starts: eight simulated devices, and compiled programs kept between runs."""

import dataclasses
import os
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
sys.path.insert(0, str(ROOT))  # for the configs

import hypothesis  # noqa: E402
import pytest  # noqa: E402
from etils import epath  # noqa: E402

from tests.cloud_storage import Objects, install  # noqa: E402
from tests.reference.equivalence import EQUIVALENCE, Equivalence, Row  # noqa: E402

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds what writes `docs/equivalence.md`."""
    parser.addoption(
        "--equivalence-table", metavar="FILE", help="write the deviations from the reference there"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Makes the collector of deviations."""
    config.stash[EQUIVALENCE] = Equivalence()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hands the deviations that a process of pytest-xdist has seen to the one that prints."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        rows = session.config.stash[EQUIVALENCE].rows()
        output["equivalence"] = [dataclasses.asdict(row) for row in rows]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    """Takes what a process of pytest-xdist hands over."""
    for row in getattr(node, "workeroutput", {}).get("equivalence", []):
        node.config.stash[EQUIVALENCE].include(Row(**row))


def pytest_terminal_summary(terminalreporter, exitstatus: int, config: pytest.Config) -> None:
    """Prints the worst deviation from the reference, by subject and quantity."""
    equivalence = config.stash[EQUIVALENCE]
    if not list(equivalence.rows()):
        return
    terminalreporter.section("worst deviations from the reference")
    for row in equivalence.rows():
        terminalreporter.write_line(
            f"{row.deviation:.1e} {row.subject}, {row.quantity} ({row.cases} comparisons)"
        )
    if (path := config.getoption("--equivalence-table")) and exitstatus == 0:
        Path(path).write_text(equivalence.page())


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with reference outputs and real data that lies beside the checkout."""
    return ROOT.parent / "shared"


@pytest.fixture(scope="session")
def shapes_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with context_shapes prepared."""
    from gcnet_jax.data import prepare

    folder = tmp_path_factory.mktemp("shapes")
    prepare("context_shapes", folder)
    return folder


@pytest.fixture(scope="session")
def storage() -> Iterator[Objects]:
    """All objects of the stand-in for Google Cloud Storage."""
    objects = Objects()
    with pytest.MonkeyPatch.context() as patch:
        install(objects, patch)
        yield objects


@pytest.fixture
def bucket(storage: Objects) -> epath.Path:
    """A new, empty bucket."""
    name = f"bucket-{len(storage.buckets)}"
    storage.buckets.add(name)
    return epath.Path(f"gs://{name}")
