"""The wheel and the sdist: what they hold, and what an installed wheel does in an empty folder."""

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from gcnet_jax.cli.gcnet import VERBS
from gcnet_jax.config import library_configs

pytestmark = pytest.mark.slow

PUBLISHED = "gcnet_r50-d8_4xb2-40k_cityscapes-512x1024"


def run(*arguments, folder, **environment):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(source, target, kind):
    """Builds one distribution as pip does, without a network, and returns its file."""
    run("-m", "hatchling", "build", "-t", kind, "-d", target, folder=source)
    (built,) = target.iterdir()
    return built


def files_below(folder):
    """The names of the files in a folder of the checkout, without what Python leaves there."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {file.as_posix() for file in files if "__pycache__" not in file.parts}


@pytest.fixture(scope="module")
def version(root):
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]


@pytest.fixture(scope="module")
def sdist(root, tmp_path_factory):
    return build(root, tmp_path_factory.mktemp("sdist"), "sdist")


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    return build(root, tmp_path_factory.mktemp("wheel"), "wheel")


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder that the wheel is installed in, with files of others beside the package."""
    site = tmp_path_factory.mktemp("site")
    quiet = ("--quiet", "--disable-pip-version-check")
    run(
        "-m",
        "pip",
        "install",
        *quiet,
        "--no-deps",
        "--no-index",
        "--target",
        site,
        wheel,
        folder=site,
    )
    (site / "pyproject.toml").write_text('[project]\nname = "somebody-elses"\n')
    for stray in ("configs/mine/stray.py", "configs/context_shapes/gcnet.py"):
        (site / stray).parent.mkdir(parents=True, exist_ok=True)
        (site / stray).write_text("raise SystemExit('a stray config was run')\n")
    return site


def names_in(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_package_its_configs_and_nothing_else(root, wheel, version):
    names = names_in(wheel)
    about = f"gcnet_jax-{version}.dist-info/"
    package = {name.removeprefix("gcnet_jax/") for name in names if not name.startswith(about)}
    configs = {f"configs/{name}" for name in files_below(root / "configs")}
    assert package == files_below(root / "gcnet_jax") | configs
    assert "py.typed" in package
    assert {f"{about}licenses/{name}" for name in ("LICENSE", "NOTICE")} <= names
    with zipfile.ZipFile(wheel) as archive:
        assert (
            "gcnet = gcnet_jax.cli.gcnet:main" in archive.read(f"{about}entry_points.txt").decode()
        )
        metadata = archive.read(f"{about}METADATA").decode()
    assert "Requires-Python: <3.14,>=3.11" in metadata
    assert metadata.count("Project-URL: ") == 3


def test_the_sdist_makes_the_same_wheel_and_brings_the_tests(root, sdist, wheel, version, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    source = tmp_path / f"gcnet_jax-{version}"
    assert files_below(source / "tests") == files_below(root / "tests")
    assert names_in(build(source, tmp_path / "wheel", "wheel")) == names_in(wheel)


def test_an_installed_wheel_has_its_own_configs_by_name_in_an_empty_folder(
    installed, version, tmp_path
):
    def gcnet(*arguments):
        path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
        return run("-m", "gcnet_jax", *arguments, folder=tmp_path, PYTHONPATH=path)

    where = run(
        "-c", "import gcnet_jax; print(gcnet_jax.__file__)", folder=tmp_path, PYTHONPATH=installed
    )
    assert Path(where.strip()).parent == installed / "gcnet_jax"
    assert gcnet("--version").split() == ["gcnet_jax", version]
    shown = gcnet("--help")
    assert all(f"  {verb}" in shown for verb in VERBS)
    names = [line.split()[0] for line in gcnet("list", "configs").splitlines()[1:]]
    assert names == list(library_configs())
    for name in (PUBLISHED, "context_shapes/gcnet", "small:plants"):
        assert '"model": {' in gcnet("train", f"--config={name}", "--print_config")
    assert list(tmp_path.iterdir()) == []
