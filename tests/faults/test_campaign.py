"""A short campaign of faults: real runs, really harmed."""

import json
import subprocess
import sys

import pytest

from gcnet_jax.errors import InputError
from tests.faults.campaign import Log


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("task", "faults", "seed"),
    [
        ("segmentation", 2, 1),  # killed while saving, and a file of what is saved is deleted
        pytest.param("segmentation", 4, 3, marks=pytest.mark.campaign),
        pytest.param("classification", 4, 3, marks=pytest.mark.campaign),
    ],
)
def test_a_short_campaign_loses_nothing_and_says_so(root, tmp_path, task, faults, seed):
    process = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.faults",
            f"--output={tmp_path}",
            f"--task={task}",
            f"--faults={faults}",
            f"--seed={seed}",
        ],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=1400,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert sum(len(record["faults"]) for record in records[1:]) == faults
    assert f"| all | | {faults} |" in process.stdout
    assert not list((tmp_path / "series").iterdir()), "folders of good series are removed"


def test_an_interrupted_campaign_goes_on_with_the_series_that_were_not_over(tmp_path):
    campaign = {"seed": 0, "faults": 12}
    path = tmp_path / "records.jsonl"
    over = {"series": 0, "last": True, "problems": []}
    begun = {"series": 1, "last": False, "problems": []}
    path.write_text("".join(f"{json.dumps(row)}\n" for row in (campaign, over, begun)))
    log = Log(path, campaign)
    assert log.done == {0}
    assert log.records == [over]
    assert [json.loads(line) for line in path.read_text().splitlines()] == [campaign, over]


def test_the_records_of_another_campaign_are_refused_and_left_alone(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text('{"seed": 0, "faults": 12}\n')
    with pytest.raises(InputError, match="another campaign"):
        Log(path, {"seed": 1, "faults": 12})
    assert path.read_text() == '{"seed": 0, "faults": 12}\n'
