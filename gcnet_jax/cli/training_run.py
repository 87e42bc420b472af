"""A whole training run from a config: what `train.py` and `quickstart.py` have in common."""

import json
import time
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from gcnet_jax.cli.figures import Curve, save_curves
from gcnet_jax.config import check_config, to_plain, versions
from gcnet_jax.data import (
    dataset_classes,
    evaluation_batches,
    split_image_sizes,
    split_size,
    train_iterator,
)
from gcnet_jax.evaluation import create_evaluator, metrics_from_confusion
from gcnet_jax.files import as_path, write_whole
from gcnet_jax.models import build_model, split_for_evaluation
from gcnet_jax.parallel import check_batch_size, create_mesh
from gcnet_jax.pretrained import initialize
from gcnet_jax.training import (
    Checkpoints,
    RunLog,
    TrainState,
    create_optimizer,
    create_state,
    create_train_step,
    learning_rate_schedule,
    read_rows,
    segmentation_loss,
    train,
)


def train_from_config(config: ConfigDict, workdir: epath.PathLike) -> None:
    """Trains the run that a config describes in `workdir`, from its newest checkpoint if any.

    Raises:
        InputError: the config, the data or the workdir's checkpoints are not usable together, or
            training diverges; see the parts for each case.
    """
    check_config(config)
    start = time.monotonic()
    workdir = as_path(workdir)
    training, evaluation = config.training, config.evaluation
    mesh = create_mesh()
    check_batch_size(
        training.batch_size,
        mesh,
        parts=training.accumulation_steps,
        key="training.batch_size",
    )
    check_batch_size(evaluation.batch_size, mesh, key="evaluation.batch_size")

    # Fail now, not in an hour.
    split_size(config.data.name, config.data.data_dir, evaluation.split)
    split_image_sizes(config.data.name, config.data.data_dir, evaluation.split)

    process: Any = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    classes = dataset_classes(config.data.name, config.data.data_dir)
    batches = train_iterator(
        config.data, batch_size=training.batch_size, seed=config.seed, **process
    )
    model = build_model(config.model, num_classes=classes.num_classes, seed=config.seed)
    optimizer = create_optimizer(config.optimizer, training.total_steps)
    graphdef, state = create_state(model, optimizer, mesh, seed=config.seed)
    schedule = learning_rate_schedule(config.optimizer, training.total_steps)
    train_step = create_train_step(
        graphdef,
        segmentation_loss(training.auxiliary_loss_weight),
        optimizer,
        mesh,
        schedule=schedule,
        accumulation_steps=training.accumulation_steps,
    )

    evaluation_graphdef, _ = split_for_evaluation(model)
    confusion = create_evaluator(evaluation_graphdef, classes.num_classes, evaluation, mesh)

    def evaluate(state: TrainState) -> Mapping[str, float]:
        variables = {"params": state.params, "statistics": state.statistics}
        held_out = evaluation_batches(config, evaluation.split, **process)
        return metrics_from_confusion(confusion(variables, held_out)).summary()

    metadata = {
        "config": to_plain(config),
        "classes": classes.to_plain(),
        "versions": versions(),
    }
    workdir.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(workdir, metadata, keep_newest=training.keep_newest)
    try:
        restored = checkpoints.restore_newest(state, batches)
        initialization = "from scratch"
        if restored is not None:
            state = restored
        elif config.training.init_from:
            initialization = initialize(model, config, classes)
            _, state = create_state(model, optimizer, mesh, seed=config.seed)
        write_whole(workdir / "config.json", json.dumps(metadata, indent=2) + "\n")
        with RunLog(
            workdir,
            first_step=int(state.step),
            total_steps=training.total_steps,
            log_every=training.log_every,
            batch_size=training.batch_size,
            writes=jax.process_index() == 0,
        ) as log:
            log.message(_summary(config, workdir, state, initialization, mesh.size))
            train(
                state,
                train_step,
                batches,
                mesh=mesh,
                total_steps=training.total_steps,
                evaluate=evaluate,
                evaluate_every=training.evaluate_every,
                evaluation_split=evaluation.split,
                checkpoints=checkpoints,
                checkpoint_every=training.checkpoint_every,
                log=log,
            )
            save_curves(workdir / "curves.png", [Curve(workdir.name, read_rows(workdir))])
            log.message(f"done in {time.monotonic() - start:.0f} s; checkpoints are in {workdir}")
    finally:
        checkpoints.close()
        batches.close()


def _summary(
    config: ConfigDict, workdir: epath.Path, state: TrainState, initialization: str, devices: int
) -> str:
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    step = int(state.step)
    if step:
        initialization = f"resuming after step {step}"
    return "\n".join(
        [
            f"workdir   {workdir}",
            f"start     {initialization}",
            f"data      {config.data.name}, {config.data.train_split} split",
            f"model     {parameters:,} parameters, computing in {config.model.dtype}",
            f"devices   {devices} x {jax.devices()[0].device_kind}",
        ]
    )
