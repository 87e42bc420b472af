import dataclasses
import functools
import json
import logging
import shutil

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from gcnet_jax.errors import InputError
from gcnet_jax.parallel import create_mesh, shard_batch
from gcnet_jax.training import (
    Checkpoints,
    TrainState,
    find_checkpoint,
    read_metadata,
    restore_variables,
)
from gcnet_jax.training.checkpoint_files import read_document
from gcnet_jax.training.fingerprints import document_fingerprint

METADATA = {
    "config": {"model": {"depth": 18, "dtype": "float32"}, "optimizer": {"learning_rate": 0.1}},
    "classes": {"names": ["a", "b"], "palette": [[0, 0, 0], [1, 1, 1]]},
    "versions": {},
}


def numbers():
    return iter(grain.MapDataset.source(list(range(1000))).to_iter_dataset())


def states_equal(a, b):
    return all(
        np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def small_state():
    """As many kinds of files as of a network, and few files."""
    values = jnp.arange(500, dtype=jnp.float32)
    return TrainState(
        step=jnp.int32(0),
        params={"kernel": values},
        statistics={"mean": values - 1},
        optimizer={"momentum": values + 1},
        seed=jnp.int32(0),
    )


@functools.partial(jax.jit, donate_argnums=0)
def small_step(state):
    parts = {"params": state.params, "statistics": state.statistics, "optimizer": state.optimizer}
    changed = jax.tree.map(lambda x: 1.5 * x + 1, parts)
    return dataclasses.replace(state, step=state.step + 1, **changed)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What `run` gives every test a copy of."""
    workdir = tmp_path_factory.mktemp("made")
    checkpoints = Checkpoints(workdir, METADATA, keep_newest=2, best_metric="mIoU")
    iterator, state, states = numbers(), small_state(), {}
    for number, score in ((1, 0.9), (2, 0.3), (3, None), (4, None)):
        state = small_step(state)
        next(iterator)
        metrics = {"mIoU": score} if score is not None else None
        checkpoints.save(state, iterator, step=number, metrics=metrics)
        states[number] = jax.tree.map(np.array, state)
    checkpoints.close()
    return workdir, states


@pytest.fixture
def run(made, tmp_path):
    """A workdir with checkpoints of steps 1 to 4, evaluated at 1 and 2, and each step's state."""
    workdir, states = made
    shutil.copytree(workdir, tmp_path, dirs_exist_ok=True)
    return tmp_path, states


def restore(workdir, metadata=METADATA):
    iterator = numbers()
    checkpoints = Checkpoints(workdir, metadata, best_metric="mIoU")
    try:
        return checkpoints.restore_newest(small_state(), iterator), iterator
    finally:
        checkpoints.close()


def test_the_newest_comes_back_bitwise_with_the_place_in_the_data(run):
    workdir, states = run
    state, iterator = restore(workdir)
    assert int(state.step) == 4
    assert states_equal(state, states[4])
    assert next(iterator) == 4


def test_a_place_that_was_counted_in_batches_is_taken_in_samples(run):
    """As earlier versions did, whose checkpoints say of how many samples a batch was."""
    workdir, _ = run
    folder = workdir / "checkpoints" / "4"
    config = {**METADATA["config"], "training": {"batch_size": 6}}
    documents = {"data": {"next_batch": 7}, "metadata": {**METADATA, "config": config}}
    written = read_document(epath.Path(folder), "fingerprints")
    for name, document in documents.items():
        (folder / name / "metadata").write_text(json.dumps(document))
        written[name] = document_fingerprint(document)
    (folder / "fingerprints" / "metadata").write_text(json.dumps(written))

    class Iterator:
        def set_state(self, state):
            self.state = state

    iterator = Iterator()
    assert (
        Checkpoints(workdir, METADATA, best_metric="mIoU").restore_newest(small_state(), iterator)
        is not None
    )
    assert iterator.state == {"next_sample": 42}


def test_saving_in_the_background_saves_the_state_of_its_step(run):
    """The step after a save overwrites the device buffers that are still being written out."""
    workdir, states = run
    shutil.rmtree(workdir / "checkpoints" / "4")
    state, _ = restore(workdir)
    assert states_equal(state, states[3])


def test_the_newest_and_the_best_are_kept(run):
    workdir, _ = run
    kept = sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())
    assert kept == [1, 3, 4]
    assert find_checkpoint(workdir, "mIoU").name == "1"


def test_without_an_evaluation_the_newest_counts_as_best(run):
    workdir, _ = run
    shutil.rmtree(workdir / "checkpoints" / "1")
    assert find_checkpoint(workdir, "mIoU").name == "4"


def test_inference_reads_parameters_and_statistics_alone(run):
    workdir, states = run
    template = small_state()
    folder = workdir / "checkpoints" / "3"
    shutil.rmtree(folder / "training")
    variables = restore_variables(
        folder, {"params": template.params, "statistics": template.statistics}
    )
    assert states_equal(variables["params"], states[3].params)
    assert states_equal(variables["statistics"], states[3].statistics)
    assert read_metadata(folder) == METADATA


def test_an_empty_workdir_has_nothing_to_restore(tmp_path):
    state, _ = restore(tmp_path)
    assert state is None
    with pytest.raises(InputError, match="no checkpoint in"):
        find_checkpoint(tmp_path, "mIoU")


def all_files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


# Orbax leaves the other reads under way when the first fails; they complain as they are dropped.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_truncated_newest_checkpoint_falls_back_to_the_one_before_and_says_so(
    run, caplog, tmp_path_factory
):
    """Each file in turn is cut to half: either that does no harm at all, or step 3 is taken."""
    workdir, states = run
    taken = {3: [], 4: []}
    for number, name in enumerate(all_files(workdir / "checkpoints" / "4")):
        damaged = tmp_path_factory.mktemp("damaged") / str(number)
        shutil.copytree(workdir, damaged)
        victim = damaged / "checkpoints" / "4" / name
        victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            state, iterator = restore(damaged)
        step = int(state.step)
        taken[step].append(name)
        assert states_equal(state, states[step]), name
        assert next(iterator) == step
        assert ("checkpoints/4 cannot be read" in caplog.text) == (step == 3), name
        assert (damaged / "checkpoints_damaged" / "4").exists() == (step == 3)

    sizes = {n: (workdir / "checkpoints" / "4" / n).stat().st_size for n in taken[3] + taken[4]}
    assert {"metadata/metadata", "data/metadata"} <= set(taken[3])
    assert max(sizes, key=lambda name: sizes[name]) in taken[3]
    assert len(taken[3]) > 8


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_flipped_bit_is_never_taken_for_the_checkpoint(run, tmp_path_factory):
    """In each file in turn: either it does no harm at all, or step 3 is taken."""
    workdir, states = run
    rng, taken = np.random.default_rng(0), {3: [], 4: []}
    for number, name in enumerate(all_files(workdir / "checkpoints" / "4")):
        damaged = tmp_path_factory.mktemp("flipped") / str(number)
        shutil.copytree(workdir, damaged)
        victim = damaged / "checkpoints" / "4" / name
        content = bytearray(victim.read_bytes())
        if not content:
            continue
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        victim.write_bytes(content)
        state, iterator = restore(damaged)
        step = int(state.step)
        taken[step].append(name)
        assert states_equal(state, states[step]), name
        assert next(iterator) == step
    assert {
        "metadata/metadata",
        "data/metadata",
        "metrics/metrics",
        "fingerprints/metadata",
    } <= set(taken[3])


def test_a_flipped_bit_in_parameters_is_refused_in_inference_too(run):
    workdir, _ = run
    template = small_state()
    folder = workdir / "checkpoints" / "3"
    variables = {"params": template.params, "statistics": template.statistics}
    files = [p for p in (folder / "model").rglob("*") if p.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    with pytest.raises(InputError, match=r"checkpoints/3 cannot be read"):
        restore_variables(folder, variables)


def test_other_devices_take_up_a_state_that_was_spread_over_eight(tmp_path, make_setup, make_batch):
    eight, two = create_mesh(spatial=2), create_mesh(jax.devices()[:2])
    _, state, step, _ = make_setup(eight, fsdp=True)
    state, _ = step(state, shard_batch(make_batch(0, height=32), eight, ("image", "label")))
    checkpoints, iterator = Checkpoints(tmp_path, METADATA, best_metric="mIoU"), numbers()
    next(iterator)
    checkpoints.save(state, iterator, step=1)
    checkpoints.close()
    expected = jax.device_get(state)

    _, template, step, _ = make_setup(two)
    checkpoints, iterator = Checkpoints(tmp_path, METADATA, best_metric="mIoU"), numbers()
    restored = checkpoints.restore_newest(template, iterator)
    assert states_equal(restored, expected)
    assert next(iterator) == 1
    assert {x.sharding.mesh for x in jax.tree.leaves(restored)} == {two}


def test_damaged_metrics_of_an_older_checkpoint_do_not_stop_the_run(run):
    workdir, states = run
    (workdir / "checkpoints" / "1" / "metrics" / "metrics").write_text('{"mIo')
    assert find_checkpoint(workdir, "mIoU").name == "4"
    template = small_state()
    checkpoints, iterator = Checkpoints(workdir, METADATA, best_metric="mIoU"), numbers()
    state = checkpoints.restore_newest(template, iterator)
    assert states_equal(state, states[4])
    state = small_step(state)
    checkpoints.save(state, iterator, step=5, metrics={"mIoU": 0.1})
    checkpoints.close()
    assert (workdir / "checkpoints_damaged" / "1").exists()
    assert find_checkpoint(workdir, "mIoU").name == "5"


def test_when_no_checkpoint_can_be_read_it_is_an_error_and_nothing_is_moved(run):
    workdir, _ = run
    for step in (1, 3, 4):
        (workdir / "checkpoints" / str(step) / "metadata" / "metadata").write_text("{")
    before = all_files(workdir)
    with pytest.raises(InputError, match=r"none of the checkpoints.*4: JSONDecodeError"):
        restore(workdir)
    assert all_files(workdir) == before


def test_precision_and_dropout_may_change_between_runs(run):
    workdir, states = run
    changed = json.loads(json.dumps(METADATA))
    changed["config"]["model"]["dtype"] = "bfloat16"
    state, _ = restore(workdir, metadata=changed)
    assert states_equal(state, states[4])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"config": {**METADATA["config"], "model": {"depth": 50, "dtype": "float32"}}},
            "depth: 18 -> 50",
        ),
        ({"classes": {"names": ["a", "c"], "palette": []}}, "another classes"),
    ],
)
def test_another_models_checkpoints_are_refused_and_left_alone(run, change, message):
    workdir, _ = run
    before = all_files(workdir)
    with pytest.raises(InputError, match=message):
        restore(workdir, metadata=METADATA | change)
    assert all_files(workdir) == before


def test_a_changed_learning_rate_is_allowed_and_said(run, caplog):
    workdir, _ = run
    changed = json.loads(json.dumps(METADATA))
    changed["config"]["optimizer"]["learning_rate"] = 0.2
    with caplog.at_level(logging.WARNING):
        state, _ = restore(workdir, metadata=changed)
    assert int(state.step) == 4
    assert "optimizer.learning_rate: 0.1 -> 0.2" in caplog.text


def test_keys_that_an_earlier_version_did_not_have_are_no_change_where_they_are_as_it_was(
    run, caplog
):
    workdir, _ = run
    now = json.loads(json.dumps(METADATA))
    now["config"]["optimizer"] |= {"schedule": "poly", "warmup_steps": 5}
    defaults = {"optimizer": {"schedule": "poly", "warmup_steps": 0}, "seed": 0}
    now["config"]["seed"] = 0
    checkpoints = Checkpoints(workdir, now, best_metric="mIoU", defaults=defaults)
    with caplog.at_level(logging.WARNING):
        checkpoints.restore_newest(small_state(), numbers())
    said = [record.getMessage() for record in caplog.records]
    assert said == ["Resuming under a changed config: optimizer.warmup_steps: 0 -> 5"]


def test_a_save_that_fails_in_the_background_is_one_clear_error_when_the_run_closes(
    run, monkeypatch
):
    """Whatever ended the run, such as the full disk that the save has met as well."""
    workdir, states = run
    checkpoints = Checkpoints(workdir, METADATA, best_metric="mIoU")
    state = dataclasses.replace(jax.tree.map(jnp.asarray, states[4]), step=jnp.int32(5))
    checkpoints.save(state, numbers(), step=5)

    def failed():
        raise ValueError("RESOURCE_EXHAUSTED: No space left on device")

    monkeypatch.setattr(checkpoints._manager, "close", failed)
    with pytest.raises(InputError, match=r"cannot be written.*No space left on device"):
        checkpoints.close()


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(InputError, match="is not a checkpoint"):
        restore_variables(tmp_path, {})
