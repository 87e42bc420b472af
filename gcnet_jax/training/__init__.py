"""Optimizer and schedule, state and step, loop, checkpoints and logs."""

from gcnet_jax.training.checkpoint_files import (
    find_checkpoint,
    finished_steps,
    read_metadata,
    restore_variables,
    save_variables,
    storage_path,
    try_out,
)
from gcnet_jax.training.checkpoints import Checkpoints
from gcnet_jax.training.display import Advance, doing
from gcnet_jax.training.evaluation_run import EvaluationRun
from gcnet_jax.training.loop import train
from gcnet_jax.training.optimizer import create_optimizer, learning_rate_schedule
from gcnet_jax.training.preemption import PreemptionNotice
from gcnet_jax.training.pretrained import (
    config_in,
    initialize,
    load_foreign,
    load_pretrained,
    run_metadata,
    save_model,
    saved_config,
)
from gcnet_jax.training.program import CompiledStep, ProgramMemory, TrainingProgram
from gcnet_jax.training.rows import read_rows
from gcnet_jax.training.run import run_training
from gcnet_jax.training.run_log import RunLog
from gcnet_jax.training.split_evaluation import (
    SplitEvaluation,
    count_batches,
    evaluation_settings,
)
from gcnet_jax.training.step import (
    TrainState,
    create_state,
    create_train_step,
    initial_state,
    state_shardings,
)
from gcnet_jax.training.trained_model import (
    lack_of_memory_named,
    load_trained_model,
)
from gcnet_jax.training.training_lock import only_training

__all__ = [
    "Advance",
    "Checkpoints",
    "CompiledStep",
    "EvaluationRun",
    "PreemptionNotice",
    "ProgramMemory",
    "RunLog",
    "SplitEvaluation",
    "TrainState",
    "TrainingProgram",
    "config_in",
    "count_batches",
    "create_optimizer",
    "create_state",
    "create_train_step",
    "doing",
    "evaluation_settings",
    "find_checkpoint",
    "finished_steps",
    "initial_state",
    "initialize",
    "lack_of_memory_named",
    "learning_rate_schedule",
    "load_foreign",
    "load_pretrained",
    "load_trained_model",
    "only_training",
    "read_metadata",
    "read_rows",
    "restore_variables",
    "run_metadata",
    "run_training",
    "save_model",
    "save_variables",
    "saved_config",
    "state_shardings",
    "storage_path",
    "train",
    "try_out",
]
