"""Set before JAX starts: eight simulated devices, and compiled programs kept between runs."""

import contextlib
import dataclasses
import fcntl
import hashlib
import itertools
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]

sys.path.insert(0, str(ROOT))  # for the configs

from tests.compilation import xla_flags  # noqa: E402


def _compiled_programs() -> Path:
    """A folder that outlives the checkout, for programs of this compiler and this processor."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else [platform.processor()]
    features = [line for line in lines if line.startswith(("flags", "Features"))][:1] or lines[:1]
    made_with = "".join([*features, *map(version, ("jax", "jaxlib"))])
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "gcnet_jax" / "tests" / hashlib.sha256(made_with.encode()).hexdigest()[:16]


# Most of a test is compilation. Commands that are started as a process compile as users do (jobs of
# several processes do not), and so does the page of deviations: it is written with
# GCNET_JAX_TESTS_OPTIMIZE=1.
_OPTIMIZES = bool(os.environ.get("GCNET_JAX_TESTS_OPTIMIZE"))
os.environ["XLA_FLAGS"] = xla_flags(8, optimizes=_OPTIMIZES)
os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_compiled_programs()))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
# Shells start what runs in the background to ignore Ctrl-C, and so would every process from here.
signal.signal(signal.SIGINT, signal.default_int_handler)

import hypothesis  # noqa: E402
import pytest  # noqa: E402
from etils import epath  # noqa: E402

from tests.cloud_storage import Objects, install  # noqa: E402
from tests.reference import golden_files  # noqa: E402
from tests.reference.equivalence import EQUIVALENCE, Equivalence, Row  # noqa: E402

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds what writes `docs/equivalence.md`, and what names other outputs of the reference."""
    parser.addoption(
        "--equivalence-table", metavar="FILE", help="write the deviations from the reference there"
    )
    parser.addoption(
        "--golden", metavar="DIR", help="compare with the reference's outputs in this folder"
    )
    parser.addoption(
        "--golden-seed",
        metavar="N",
        type=int,
        default=0,
        help="the seed that their weights and inputs were drawn with",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Makes the collector of deviations, and says where the reference's outputs are."""
    config.stash[EQUIVALENCE] = Equivalence()
    if folder := config.getoption("--golden"):
        golden_files.use(Path(folder).absolute(), config.getoption("--golden-seed"))


def pytest_report_header() -> list[str]:
    """Says what is left out of a comparison with a folder that was named."""
    missing = ", ".join(golden_files.absent())
    return [f"not in --golden, and left out: {missing}"] if missing else []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the slow tests first, so that no process is left with one at the end.

    Of two processes each begins with half of the list, and takes from the other's end when it is
    done: both halves begin with slow tests. Files stay whole, for what their tests share.
    """
    halves: tuple[list[pytest.Item], list[pytest.Item]] = ([], [])
    for slow in (True, False):
        chosen = (item for item in items if (item.get_closest_marker("slow") is not None) == slow)
        files = [list(group) for _, group in itertools.groupby(chosen, lambda item: item.path)]
        for file in sorted(files, key=len, reverse=True):
            min(halves, key=len).extend(file)
    items[:] = halves[0] + halves[1]


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
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`made_once(name, make)`: a folder that `make(folder)` fills, once for all test processes."""
    workers = os.environ.get("PYTEST_XDIST_WORKER") is not None
    base = tmp_path_factory.getbasetemp()
    base = base.parent if workers else base  # of all processes of this session

    def folder_of(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = base / f"shared_{name}", base / f"shared_{name}.done"
        with (base / f"shared_{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def compilations() -> Callable[[], contextlib.AbstractContextManager[list[str]]]:
    """Returns what makes contexts with a list that gets the name of each program compiled within.

    Programs that come out of the cache on disk count too, those of this process do not.
    """
    import jax

    @contextlib.contextmanager
    def named() -> Iterator[list[str]]:
        names: list[str] = []

        def listen(event: str, duration_secs: float, **details) -> None:
            if event == "/jax/core/compile/backend_compile_duration":
                names.append(str(details.get("fun_name")))

        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            yield names
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)

    return named


@pytest.fixture(scope="session")
def shapes_dir(made_once: Callable[..., Path]) -> Path:
    """A folder with context_shapes prepared."""
    from gcnet_jax.tasks.segmentation.data import prepare

    return made_once("shapes", lambda folder: prepare("context_shapes", folder))


@pytest.fixture(scope="session")
def scenes_dir(made_once: Callable[..., Path]) -> Path:
    """A folder with context_scenes prepared."""
    from gcnet_jax.tasks.classification.data import prepare

    return made_once("scenes", lambda folder: prepare("context_scenes", folder))


@pytest.fixture(scope="session")
def objects_dir(made_once: Callable[..., Path]) -> Path:
    """A folder with context_objects prepared."""
    from gcnet_jax.tasks.detection.data import prepare

    return made_once("objects", lambda folder: prepare("context_objects", folder))


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
