"""The loop drives anything that has a state, a step and batches; here a line through points."""

import json
import logging
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from gcnet_jax.errors import InputError, Preempted
from gcnet_jax.parallel import create_mesh
from gcnet_jax.task import Scores
from gcnet_jax.training import Checkpoints, RunLog, create_state, create_train_step, train
from gcnet_jax.training import loop as loop_module
from gcnet_jax.training.checkpoint_files import read_metrics

METADATA: dict[str, Any] = {"config": {"model": {}}, "classes": {}, "versions": {}}


class Line(nnx.Module):
    def __init__(self):
        self.slope = nnx.Param(jnp.zeros(()))


def squared_error(model, batch, rngs):
    error = model.slope[...] * batch["x"] - batch["y"]
    return jnp.mean(error**2), {}


def points(poisoned_step=None, batch_size=8):
    """Points on a line of slope 3; those of one step may be NaN."""

    def point(index):
        x = np.float32(1 + index % 5)
        poison = poisoned_step is not None and index // batch_size == poisoned_step - 1
        return {"x": x, "y": np.float32(np.nan) if poison else 3 * x}

    source = grain.MapDataset.range(10_000).map(point).batch(batch_size)
    return iter(source.to_iter_dataset())


def run(
    workdir,
    batches,
    *,
    total_steps=40,
    evaluate=None,
    checkpoint_every=10,
    rate=0.01,
    preempted=None,
    observer=None,
):
    mesh = create_mesh(jax.devices()[:2])
    optimizer = optax.sgd(rate)
    graphdef, state = create_state(Line(), optimizer, mesh, seed=0)
    checkpoints = Checkpoints(workdir, METADATA, best_metric="mIoU")
    try:
        state = checkpoints.restore_newest(state, batches) or state
        with RunLog(
            workdir,
            first_step=int(state.step),
            total_steps=total_steps,
            log_every=5,
            best_metric="mIoU",
            batch_size=8,
            unlogged=checkpoints.unlogged(int(state.step)),
        ) as log:
            return train(
                state,
                create_train_step(
                    graphdef, squared_error, optimizer, mesh, schedule=lambda step: 0.01
                ),
                batches,
                mesh=mesh,
                image_keys=(),
                total_steps=total_steps,
                evaluate=evaluate or (lambda state: Scores({"mIoU": float(state.params["slope"])})),
                evaluate_every=20,
                evaluation_split="val",
                checkpoints=checkpoints,
                checkpoint_every=checkpoint_every,
                preempted=preempted or (lambda: False),
                log=log,
                observer=observer,
            )
    finally:
        checkpoints.close()


def rows(workdir, split):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["split"] == split]


def test_it_learns_logs_evaluates_and_saves(tmp_path, capsys):
    state = run(tmp_path, points())
    assert float(state.params["slope"]) == pytest.approx(3, abs=0.01)
    assert int(state.step) == 40
    training = rows(tmp_path, "train")
    assert [row["step"] for row in training] == list(range(5, 41, 5))
    assert training[-1]["loss"] < training[0]["loss"]
    assert {"loss", "gradient_norm", "learning_rate", "images_per_second"} < set(training[0])
    assert [row["step"] for row in rows(tmp_path, "val")] == [20, 40]
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"30", "40"}
    assert list((tmp_path / "tensorboard").iterdir())
    printed = capsys.readouterr().out
    assert "step 5/40  loss" in printed
    assert "images/s" in printed
    assert "left" in printed


def test_who_looks_on_sees_the_first_batch_and_is_told_of_what_is_already_saved(tmp_path):
    seen = []

    class Observer:
        def first_batch(self, batch):
            seen.append(batch["x"].tolist())

        def evaluated(self, step):
            seen.append((step, [row["step"] for row in rows(tmp_path, "val")]))

    alone = run(tmp_path / "alone", points())
    run(tmp_path, points(), total_steps=20, observer=Observer())
    assert seen == [[1 + i % 5 for i in range(8)], (20, [20])]
    observed = run(tmp_path, points(), observer=Observer())
    assert seen[2:] == [(40, [20, 40])]  # a resumed run has no first batch
    assert float(observed.params["slope"]) == float(alone.params["slope"])


def test_a_row_is_the_mean_over_its_steps(tmp_path):
    run(tmp_path, points(), total_steps=5)
    slope, losses = 0.0, []
    for step in range(5):
        x = 1 + np.arange(8 * step, 8 * step + 8) % 5
        losses.append(np.mean((slope * x - 3 * x) ** 2))
        slope -= 0.01 * np.mean(2 * (slope * x - 3 * x) * x)
    assert rows(tmp_path, "train")[0]["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_finished_run_started_again_does_nothing(tmp_path):
    first = run(tmp_path, points())
    before = (tmp_path / "metrics.jsonl").read_text()
    again = run(tmp_path, points())
    assert float(again.params["slope"]) == float(first.params["slope"])
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_a_run_in_two_parts_ends_bitwise_like_one(tmp_path):
    whole = run(tmp_path / "whole", points())
    run(tmp_path / "parts", points(), total_steps=17, checkpoint_every=7)
    parts = run(tmp_path / "parts", points())
    assert float(parts.params["slope"]) == float(whole.params["slope"])
    steps = [row["step"] for row in rows(tmp_path / "parts", "train")]
    assert steps == sorted(set(steps))


def test_a_step_that_spoils_the_state_under_a_finite_loss_is_not_saved(tmp_path):
    """A rate that overflows the update: loss and gradient of that step are still finite."""
    with pytest.raises(InputError, match="state norm is inf at step 10"):
        run(tmp_path, points(), rate=lambda step: jnp.where(step == 9, 3e38, 0.001))
    assert not list((tmp_path / "checkpoints").glob("[0-9]*"))


@pytest.mark.parametrize("poisoned_step", [1, 13, 20, 40])
def test_a_loss_that_is_not_finite_stops_the_run_names_its_step_and_is_never_saved(
    tmp_path, poisoned_step
):
    with pytest.raises(InputError, match=f"loss is nan at step {poisoned_step}\\b"):
        run(tmp_path, points(poisoned_step))
    saved = [int(p.name) for p in (tmp_path / "checkpoints").glob("[0-9]*")]
    assert all(step < poisoned_step for step in saved)
    last_good = 10 * ((poisoned_step - 1) // 10)
    assert (max(saved) if saved else 0) == last_good
    # And with the data mended the same run goes on from there.
    state = run(tmp_path, points())
    assert float(state.params["slope"]) == pytest.approx(3, abs=0.01)


def test_steps_are_dispatched_without_waiting_for_the_one_before(tmp_path, monkeypatch):
    """With a device that never seems done, the host still runs ahead by the allowed steps.

    And reading metrics dispatches nothing, which would queue behind the steps under way.
    """
    monkeypatch.setattr(loop_module, "_is_done", lambda metrics: False)
    behind = []

    class Watched(RunLog):
        def step(self, step, metrics):
            behind.append(len(dispatched) - step)
            assert all(isinstance(value, float) for value in metrics.values())
            super().step(step, metrics)

    dispatched = []
    mesh = create_mesh(jax.devices()[:1])
    optimizer = optax.sgd(0.01)
    graphdef, state = create_state(Line(), optimizer, mesh, seed=0)
    step_function = create_train_step(
        graphdef, squared_error, optimizer, mesh, schedule=lambda step: 0.01
    )

    def counting_step(state, batch):
        dispatched.append(None)
        return step_function(state, batch)

    checkpoints = Checkpoints(tmp_path, METADATA, best_metric="mIoU")
    options = {
        "first_step": 0,
        "total_steps": 20,
        "log_every": 1,
        "best_metric": "mIoU",
        "batch_size": 8,
    }
    with Watched(tmp_path, **options) as log:
        train(
            state,
            counting_step,
            points(),
            mesh=mesh,
            image_keys=(),
            total_steps=20,
            evaluate=lambda state: Scores({"mIoU": 0.0}),
            evaluate_every=100,
            evaluation_split="val",
            checkpoints=checkpoints,
            checkpoint_every=100,
            preempted=lambda: False,
            log=log,
        )
    checkpoints.close()
    assert behind[0] == 0  # the log says when the first step was done
    assert set(behind[1:15]) == {loop_module._STEPS_IN_FLIGHT}


def test_what_a_killed_run_logged_beyond_its_checkpoint_is_dropped(tmp_path, caplog):
    run(tmp_path, points(), total_steps=10)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 15, "split": "train", "loss": 1.0}\n{"step": 20, "spl')
    with caplog.at_level(logging.WARNING):
        run(tmp_path, points(), total_steps=20)
    assert [row["step"] for row in rows(tmp_path, "train")] == [5, 10, 15, 20]
    assert rows(tmp_path, "train")[2]["loss"] != 1.0


def test_a_preempted_run_saves_its_step_and_ends_bitwise_like_one_never_stopped(tmp_path):
    whole = run(tmp_path / "whole", points())
    moments = iter([False] * 12 + [True])
    with pytest.raises(Preempted, match="stopped after step 13, which is saved"):
        run(tmp_path / "stopped", points(), preempted=lambda: next(moments))
    assert Checkpoints(tmp_path / "stopped", METADATA, best_metric="mIoU").has_metrics(13) is False
    stopped = run(tmp_path / "stopped", points())
    assert float(stopped.params["slope"]) == float(whole.params["slope"])
    for split in ("train", "val"):
        logged = [
            [
                {name: value for name, value in row.items() if name != "images_per_second"}
                for row in rows(tmp_path / name, split)
            ]
            for name in ("whole", "stopped")
        ]
        assert logged[0] == logged[1]


@pytest.mark.parametrize("total_steps", [20, 40])
@pytest.mark.parametrize("when", ["before", "during"])
def test_an_evaluation_that_preemption_prevented_is_made_up_for(tmp_path, when, total_steps):
    """Step 20 is to be evaluated, be it the last or not."""
    moments = iter([False] * 19 + [when == "before"])
    with pytest.raises(Preempted, match="after step 20"):
        run(
            tmp_path,
            points(),
            total_steps=total_steps,
            evaluate=lambda state: None,
            preempted=lambda: next(moments),
        )
    assert rows(tmp_path, "val") == []
    assert not Checkpoints(tmp_path, METADATA, best_metric="mIoU").has_metrics(20)

    with pytest.raises(Preempted, match="after step 20"):  # and prevented again
        run(tmp_path, points(), total_steps=total_steps, evaluate=lambda state: None)

    run(tmp_path, points(), total_steps=total_steps)
    assert rows(tmp_path, "val")[0]["step"] == 20
    steps = [20] if total_steps == 20 else [20, 40]
    assert [row["step"] for row in rows(tmp_path, "val")] == steps
    assert Checkpoints(tmp_path, METADATA, best_metric="mIoU").has_metrics(total_steps)


def test_a_checkpoint_that_cannot_be_written_is_one_clear_error(tmp_path):
    def in_the_way():
        (tmp_path / "checkpoints").write_text("a file where the folder should be")
        return False

    with pytest.raises(InputError, match=r"a checkpoint cannot be written to .*checkpoints"):
        run(tmp_path, points(), preempted=in_the_way)


def test_an_owed_evaluation_leaves_the_saved_state_alone_and_counts(tmp_path):
    asked = iter([False] * 19 + [True])
    with pytest.raises(Preempted, match="after step 20"):
        run(tmp_path, points(), preempted=lambda: next(asked))
    saved = tmp_path / "checkpoints" / "20"
    arrays = {
        p: p.read_bytes() for p in saved.rglob("*") if p.is_file() and "metrics" not in p.parts
    }

    def gives_up(state):
        return None

    with pytest.raises(Preempted, match="after step 20"):
        run(tmp_path, points(), evaluate=gives_up, total_steps=20)
    run(tmp_path, points(), total_steps=20)
    assert {path: path.read_bytes() for path in arrays} == arrays
    assert read_metrics(saved)["mIoU"] > 0
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["split"] == "val"] == [20]
