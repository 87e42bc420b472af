"""What preparing takes grows with the number of images, and no faster."""

import dataclasses
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gcnet_jax.data import Contents, preparation, prepare_own
from tests.data.numbered import NumberedImages

SHEEP = NumberedImages()
PIXELS = np.zeros((8, 8, 3), np.uint8)
IMAGENET, IMAGENET_BYTES = 1_281_167, 110_000  # images for training, and bytes of one
IO = Path("/proc/self/io")


@dataclasses.dataclass(frozen=True, slots=True)
class Drawn:
    """One of many tiny images that no file holds."""

    index: int

    @property
    def name(self) -> str:
        return f"image_{self.index:07d}"

    def fingerprint(self) -> str:
        return self.name

    def load(self):
        return PIXELS, self.index % 10


def accept(counts, console):
    del counts, console


def written():
    """Bytes that this process has written, to whatever files."""
    return int(dict(line.split(": ") for line in IO.read_text().splitlines())["wchar"])


def prepare(data_dir, number):
    examples = {"train": [Drawn(i) for i in range(number)]}
    return prepare_own("many", data_dir, "Tiny.", SHEEP, examples, accept, options="")


@pytest.mark.skipif(not IO.exists(), reason="the system does not count what is written")
def test_four_times_the_images_are_four_times_the_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "SHARD_BYTES", 1)
    counts = {}
    for number in (30, 120):
        before = written()
        prepare(tmp_path / str(number), number)
        counts[number] = written() - before
    assert counts[120] <= 4.2 * counts[30]


def measure(data_dir: str, number: str):
    """Prints what preparing takes in a process of its own, in as many shards as of ImageNet."""
    per_shard = preparation.SHARD_BYTES // IMAGENET_BYTES
    preparation.SHARD_BYTES = per_shard * len(SHEEP.store(Drawn(0)).record)
    before, start = written(), time.monotonic()
    folder = prepare(data_dir, int(number))
    found = {"seconds": time.monotonic() - start, "bytes": written() - before}
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found["stored"] = sum(path.stat().length for path in folder.glob("*-of-*"))
    start = time.monotonic()
    assert len(Contents.read(folder, NumberedImages).sizes("train")) == int(number)
    found["reading"] = time.monotonic() - start
    print(json.dumps(found))


@pytest.mark.campaign
def test_two_hundred_thousand_images_project_to_imagenet(root, tmp_path):
    found = {}
    for number in (50_000, 200_000):
        call = f"measure({str(tmp_path / str(number))!r}, {number})"
        code = f"from tests.data.test_many_images import measure; {call}"
        output = subprocess.check_output([sys.executable, "-c", code], cwd=root, text=True)
        found[number] = json.loads(output)
        print(number, found[number])
    few, many = found.values()
    assert many["bytes"] <= 4.2 * few["bytes"]

    def an_image(what):
        return (many[what] - few[what]) / 150_000

    peak = few["peak"] + an_image("peak") * (IMAGENET - 50_000)
    described = an_image("bytes") - an_image("stored")
    print(
        f"ImageNet: {peak / 1e6:.0f} MB of memory, {described * IMAGENET / 1e6:.0f} MB of tables "
        f"beside {IMAGENET * IMAGENET_BYTES / 1e9:.0f} GB of images, "
        f"{an_image('seconds') * IMAGENET:.0f} s, read in {an_image('reading') * IMAGENET:.1f} s"
    )
    assert an_image("peak") < 1000
    assert described < 200
