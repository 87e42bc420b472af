"""Classification of images as a task: see `gcnet_jax.task.Task`."""

from gcnet_jax.task import Prediction, Task
from gcnet_jax.tasks.classification.attention import ATTENTION
from gcnet_jax.tasks.classification.classifier import build_model
from gcnet_jax.tasks.classification.config import BEST_METRIC, SCHEMA
from gcnet_jax.tasks.classification.data import (
    DATA_SETS,
    ImageClasses,
    random_samples,
    training_batches,
)
from gcnet_jax.tasks.classification.exported_programs import EXPORT
from gcnet_jax.tasks.classification.loss import classification_loss
from gcnet_jax.tasks.classification.pictures import ShownExamples, TrainingPictures
from gcnet_jax.tasks.classification.prediction_run import predict_photos
from gcnet_jax.tasks.classification.split_evaluation import ClassificationEvaluator
from gcnet_jax.tasks.classification.trained_classifier import TrainedClassifier
from gcnet_jax.tasks.classification.weights import FOREIGN

TASK: Task[ImageClasses] = Task(
    schema=SCHEMA,
    best_metric=BEST_METRIC,
    meaning=ImageClasses,
    data_sets=DATA_SETS,
    foreign=FOREIGN,
    build_model=lambda config, classes: build_model(
        config.model, num_classes=classes.num_classes, seed=config.seed
    ),
    loss=lambda config: classification_loss(config.training.label_smoothing),
    training_batches=training_batches,
    random_samples=random_samples,
    evaluator=ClassificationEvaluator,
    observer=TrainingPictures,
    shown_examples=lambda *of, multi_scale, count: ShownExamples(*of, count=count),
    attention=ATTENTION,
    prediction=Prediction(
        network=TrainedClassifier,
        files=lambda trained, config, photos, videos, *of: predict_photos(
            trained, config, photos, *of
        ),
        of_image=("_classes.json", "_overlay.png"),
        scores="_probabilities.npy",
    ),
    export=EXPORT,
)
