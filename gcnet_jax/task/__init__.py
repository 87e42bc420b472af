"""What a run needs of a task; no task's name."""

from gcnet_jax.task.attention import Attention, SeenImage, at_top_left
from gcnet_jax.task.definition import LossFunction, Meaning, Metrics, Task
from gcnet_jax.task.evaluation import Counter, Evaluated, Evaluator, Look, Scores
from gcnet_jax.task.layers import Layer, Part, ShownResult
from gcnet_jax.task.networks import PretrainedModel, TrainedModel, TrainedNetwork
from gcnet_jax.task.pictures import Observer, ShownExamples, ShowPicture
from gcnet_jax.task.prediction import Photo, Prediction, PredictionOptions, Written

__all__ = [
    "Attention",
    "Counter",
    "Evaluated",
    "Evaluator",
    "Layer",
    "Look",
    "LossFunction",
    "Meaning",
    "Metrics",
    "Observer",
    "Part",
    "Photo",
    "Prediction",
    "PredictionOptions",
    "PretrainedModel",
    "Scores",
    "SeenImage",
    "ShowPicture",
    "ShownExamples",
    "ShownResult",
    "Task",
    "TrainedModel",
    "TrainedNetwork",
    "Written",
    "at_top_left",
]
