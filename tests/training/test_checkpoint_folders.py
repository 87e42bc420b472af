"""Folders of checkpoints: what users may call them, and what else may lie in them."""

import json
import logging
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from etils import epath
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.errors import InputError
from gcnet_jax.files import LiteralPath
from gcnet_jax.training import (
    Checkpoints,
    find_checkpoint,
    restore_variables,
    save_variables,
    storage_path,
    try_out,
)
from gcnet_jax.training.checkpoint_files import finished_steps, read_metrics
from gcnet_jax.training.fingerprints import document_fingerprint
from tests.training.test_loop import METADATA, points, run

VARIABLES = {"params": {"a": np.arange(4, dtype=np.float32)}}


def variables(factor=1):
    return jax.tree.map(lambda x: jax.device_put(factor * x, jax.devices()[0]), VARIABLES)


# What every character of a name may be taken for by one library or another: patterns, the ends of
# URLs, variables, numbers of files.
NAMES = ("w[a]z", "w?z", "w*z", "%20 #$HOME~{x}@3:file\n größe")


@pytest.mark.parametrize("name", NAMES)
def test_a_run_in_a_folder_of_any_name_goes_on_from_what_it_saved(tmp_path, name):
    run(tmp_path / "wbz", points(), total_steps=30)  # which a pattern would take in its place
    run(tmp_path / name, points(), total_steps=20)
    assert find_checkpoint(tmp_path / name, "mIoU").name == "20"
    state = run(tmp_path / name, points())
    assert int(state.step) == 40


@given(st.text(st.characters(exclude_characters="/\0\\", codec="utf-8"), min_size=1, max_size=40))
@settings(max_examples=25)
def test_what_is_saved_under_any_name_is_read_again_or_refused_at_once(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("names")
    workdir = Path(f"{folder}/{name}/run")
    try:
        workdir.mkdir(parents=True)
    except OSError:  # too long, or "."
        return
    if name.endswith("gs:"):
        with pytest.raises(InputError):
            try_out(storage_path(workdir))
        return
    try_out(storage_path(workdir))
    save_variables(workdir / "1", variables(), {})
    restored = restore_variables(workdir / "1", variables())
    np.testing.assert_array_equal(restored["params"]["a"], VARIABLES["params"]["a"])


@pytest.mark.parametrize("name", ["a\\b", "logs:gs:", os.fsdecode(b"a\xff")])
def test_a_name_that_cannot_hold_checkpoints_is_refused_before_anything_is_written(tmp_path, name):
    workdir = tmp_path / name / "run"
    with pytest.raises(InputError, match=r"use another"):
        try_out(storage_path(workdir))
    with pytest.raises(InputError):
        save_variables(workdir / "converted", variables(), {})
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_disk_without_room_for_a_checkpoint_is_named_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=9_000_000))
    try_out(storage_path(tmp_path), 8_000_000)
    message = r"has 9 MB free, and a checkpoint needs 10 MB; make room, or use a workdir on another"
    with pytest.raises(InputError, match=message):
        try_out(storage_path(tmp_path), 9_000_000)


def test_what_was_only_tried_leaves_nothing_behind(tmp_path):
    (tmp_path / ".trial" / "model").mkdir(parents=True)  # of a start that was killed
    try_out(storage_path(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def lossy(monkeypatch):
    """A disk on which Orbax does not find again what it has written in parts."""
    monkeypatch.setattr(LiteralPath, "glob", lambda path, pattern: iter(()))


def test_variables_that_cannot_be_read_again_are_not_said_to_be_saved(tmp_path, lossy):
    with pytest.raises(InputError, match=r"converted cannot be written"):
        save_variables(tmp_path / "converted", variables(), {})
    with pytest.raises(InputError, match=r"no checkpoint can be kept in .*; use another folder"):
        try_out(storage_path(tmp_path))
    assert not list(tmp_path.iterdir())


def test_the_first_save_of_a_run_is_read_back(tmp_path, lossy):
    with pytest.raises(InputError, match=r"checkpoints/10 was written and cannot be read again"):
        run(tmp_path, points())


@pytest.fixture
def twenty(tmp_path):
    """The folder of the checkpoints of a run of 20 steps."""
    run(tmp_path, points(), total_steps=20)
    return tmp_path / "checkpoints"


def test_a_copy_under_another_steps_name_is_set_aside_and_every_save_is_made(twenty, caplog):
    shutil.copytree(twenty / "20", twenty / "99")
    assert find_checkpoint(twenty.parent, "mIoU").name == "20"
    with caplog.at_level(logging.WARNING):
        state = run(twenty.parent, points())
    assert int(state.step) == 40
    assert {path.name for path in twenty.iterdir()} == {"30", "40"}
    assert "checkpoints/99 cannot be read (Damaged: it is of step 20" in caplog.text
    assert (twenty.parent / "checkpoints_damaged" / "99").exists()


def test_a_copy_of_a_checkpoint_without_metrics_is_set_aside_too(twenty):
    """As one of an earlier version is: its metrics do not say of which step they are."""
    shutil.copytree(twenty / "20", twenty / "99")
    for folder in (twenty / "20", twenty / "99"):
        metrics = {"mIoU": 0.5}
        stored = {**metrics, "fingerprint": document_fingerprint(metrics)}
        (folder / "metrics" / "metrics").write_text(json.dumps(stored))
    assert int(run(twenty.parent, points()).step) == 40
    assert {path.name for path in twenty.iterdir()} == {"30", "40"}


def test_a_save_that_orbax_leaves_out_is_an_error(twenty):
    """Somebody puts a folder there while the run goes on."""
    checkpoints = Checkpoints(twenty.parent, METADATA, best_metric="mIoU")
    with pytest.raises(InputError, match=r"checkpoint of step 30 was not written.* one of step 99"):
        run(twenty.parent, points(), preempted=lambda: put_in_the_way(twenty))
    checkpoints.close()


def put_in_the_way(folder):
    if not (folder / "99").exists():
        shutil.copytree(folder / "20", folder / "99")
    return False


@pytest.mark.parametrize("name", ["²", "0020", str(10**30)])
def test_numbers_that_are_no_steps_are_set_aside(twenty, name, caplog):
    shutil.copytree(twenty / "20", twenty / name)
    assert find_checkpoint(twenty.parent, "mIoU").name == "20"
    assert sorted(finished_steps(epath.Path(twenty))) == [10, 20]
    with caplog.at_level(logging.WARNING):
        assert int(run(twenty.parent, points()).step) == 40
    assert (twenty.parent / "checkpoints_damaged" / name).exists()
    assert "its name is no step" in caplog.text


def test_a_checkpoint_that_was_only_renamed_is_not_taken_for_none(twenty):
    shutil.rmtree(twenty / "10")
    (twenty / "20").rename(twenty / "0020")
    with pytest.raises(InputError, match=r"none of the checkpoints .*0020: .*its name is no step"):
        run(twenty.parent, points())
    assert (twenty / "0020").exists()


@pytest.mark.parametrize("name", ["best", "20_copy", ".hidden"])
def test_what_bears_no_number_is_left_alone(twenty, name):
    shutil.copytree(twenty / "20", twenty / name)
    assert int(run(twenty.parent, points()).step) == 40
    assert (twenty / name).exists()


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("metrics", '{"mIoU": "best"}'),
        ("metrics", '{"mIoU": ' + DEEP),
        ("metrics", "\xff"),
        ("metadata", DEEP),
        ("data", "9" * 5000),
        ("fingerprints", "[]"),
    ],
    ids=lambda text: text[:12],
)
def test_documents_of_any_content_are_one_line_and_the_run_goes_on(twenty, content, part, caplog):
    file = twenty / "20" / part / ("metrics" if part == "metrics" else "metadata")
    file.write_bytes(content.encode("latin1"))
    with caplog.at_level(logging.WARNING):
        assert find_checkpoint(twenty.parent, "mIoU").name == ("10" if part == "metrics" else "20")
        assert int(run(twenty.parent, points()).step) == 40
    assert "checkpoints/20 cannot be read" in caplog.text
    assert (twenty.parent / "checkpoints_damaged" / "20").exists()


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_metrics_of_any_bytes_are_read_or_refused(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("checkpoints") / "5"
    (folder / "metrics").mkdir(parents=True)
    (folder / "metrics" / "metrics").write_bytes(content)
    with pytest.raises(ValueError):
        read_metrics(folder)
