"""Benchmarks in this process, on one device."""

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import command
from tests.commands import Finished, check_failure, run_here


@pytest.fixture(scope="session")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """`benchmark(name, *arguments)`: runs one to its end, in a folder of its own."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def run(*arguments: object, devices: int = 1, folder: Path = elsewhere) -> Finished:
        return run_here(command.main, arguments, folder, devices=devices)

    return run


@pytest.fixture(scope="session")
def fails(benchmark: Callable) -> Callable:
    """`fails(name, *arguments, says=..., code=1)`: it must end with that code and one line."""

    def check(*arguments: object, says: str, code: int = 1) -> None:
        check_failure(benchmark(*arguments), says=says, code=code)

    return check
