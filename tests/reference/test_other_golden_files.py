import json

import numpy as np
import pytest

from tests.reference import arrays, golden_files


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    for name in ("_folder", "_seed"):
        monkeypatch.setattr(golden_files, name, getattr(golden_files, name))


def test_a_folder_without_cases_is_refused(tmp_path):
    with pytest.raises(pytest.UsageError, match=r"no case is found in --golden=.*blocks\.json"):
        golden_files.use(tmp_path, 1)


def test_cases_outputs_and_the_seed_are_those_of_the_folder(tmp_path):
    (tmp_path / "blocks.json").write_text(json.dumps({"one": {"shape": [1]}}))
    np.savez(tmp_path / "blocks.npz", **{"one|y": np.ones(1)})
    before = arrays.normal("x", (3,))
    golden_files.use(tmp_path, 1)
    assert golden_files.cases("blocks") == {"one": {"shape": [1]}}
    assert golden_files.cases("segmentors") == {}
    assert list(golden_files.outputs("blocks")) == ["one|y"]
    assert "segmentors.npz" in golden_files.absent()
    assert not np.array_equal(arrays.normal("x", (3,)), before)
