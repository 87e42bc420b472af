"""What a run needs of a task; no task's name."""

from gcnet_jax.task.agreement import (
    Difference,
    Measure,
    OfImage,
    Tolerance,
    compare_classes,
    compare_logits,
    compare_numbers,
    compare_probabilities,
)
from gcnet_jax.task.attention import Attention, SeenImage, at_top_left
from gcnet_jax.task.definition import LossFunction, Meaning, Metrics, Task
from gcnet_jax.task.evaluation import Counter, Evaluated, Evaluator, Look, Scores
from gcnet_jax.task.exported import (
    ArrayShapes,
    CompiledProgram,
    Export,
    ExportedNetwork,
    Outputs,
    Program,
    RunProgram,
    Signature,
)
from gcnet_jax.task.layers import Layer, Part, ShownResult
from gcnet_jax.task.networks import PretrainedModel, TrainedModel, TrainedNetwork
from gcnet_jax.task.pictures import Observer, ShownExamples, ShowPicture
from gcnet_jax.task.prediction import Photo, Prediction, PredictionOptions, Written

__all__ = [
    "ArrayShapes",
    "Attention",
    "CompiledProgram",
    "Counter",
    "Difference",
    "Evaluated",
    "Evaluator",
    "Export",
    "ExportedNetwork",
    "Layer",
    "Look",
    "LossFunction",
    "Meaning",
    "Measure",
    "Metrics",
    "Observer",
    "OfImage",
    "Outputs",
    "Part",
    "Photo",
    "Prediction",
    "PredictionOptions",
    "PretrainedModel",
    "Program",
    "RunProgram",
    "Scores",
    "SeenImage",
    "ShowPicture",
    "ShownExamples",
    "ShownResult",
    "Signature",
    "Task",
    "Tolerance",
    "TrainedModel",
    "TrainedNetwork",
    "Written",
    "at_top_left",
    "compare_classes",
    "compare_logits",
    "compare_numbers",
    "compare_probabilities",
]
