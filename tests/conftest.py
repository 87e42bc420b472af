"""Set before JAX starts: four simulated devices, and compiled programs kept between runs."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
os.environ["JAX_PLATFORMS"] = os.environ.get("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
sys.path.insert(0, str(ROOT))  # for the configs

import pytest  # noqa: E402


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
