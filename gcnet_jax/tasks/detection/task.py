"""Detection of objects and their masks as a task: see `gcnet_jax.task.Task`."""

from gcnet_jax.task import Prediction, Task
from gcnet_jax.tasks.detection.attention import ATTENTION
from gcnet_jax.tasks.detection.build_model import build_model
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.config import BEST_METRIC, SCHEMA
from gcnet_jax.tasks.detection.data import DATA_SETS, random_samples, training_batches
from gcnet_jax.tasks.detection.evaluation_files import ShownDetections
from gcnet_jax.tasks.detection.exported_programs import EXPORT
from gcnet_jax.tasks.detection.loss import detection_loss
from gcnet_jax.tasks.detection.prediction_run import predict_photos
from gcnet_jax.tasks.detection.split_evaluation import DetectionEvaluator
from gcnet_jax.tasks.detection.trained_detector import TrainedDetector
from gcnet_jax.tasks.detection.training_pictures import TrainingPictures
from gcnet_jax.tasks.detection.weights import FOREIGN

TASK: Task[ObjectClasses] = Task(
    schema=SCHEMA,
    best_metric=BEST_METRIC,
    meaning=ObjectClasses,
    data_sets=DATA_SETS,
    foreign=FOREIGN,
    build_model=lambda config, classes: build_model(
        config.model, num_classes=classes.num_classes, seed=config.seed
    ),
    loss=lambda config: detection_loss(),
    training_batches=training_batches,
    random_samples=random_samples,
    evaluator=DetectionEvaluator,
    observer=TrainingPictures,
    shown_examples=lambda *of, multi_scale, count: ShownDetections(*of, count=count),
    attention=ATTENTION,
    prediction=Prediction(
        network=TrainedDetector,
        files=lambda trained, config, photos, videos, *of: predict_photos(
            trained, config, photos, *of
        ),
        of_image=("_objects.json", "_overlay.png"),
        scores="_objects.npz",
    ),
    export=EXPORT,
)
