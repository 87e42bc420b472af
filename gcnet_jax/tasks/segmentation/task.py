"""Semantic segmentation as a task: see `gcnet_jax.task.Task`."""

from ml_collections import ConfigDict

from gcnet_jax.errors import InputError
from gcnet_jax.task import LossFunction, Prediction, Task
from gcnet_jax.tasks.segmentation.attention import ATTENTION
from gcnet_jax.tasks.segmentation.build_model import build_model
from gcnet_jax.tasks.segmentation.config import BEST_METRIC, SCHEMA
from gcnet_jax.tasks.segmentation.data import (
    DATA_SETS,
    DatasetClasses,
    LabelCounts,
    random_samples,
    training_batches,
)
from gcnet_jax.tasks.segmentation.evaluation_files import ShownSegmentations
from gcnet_jax.tasks.segmentation.exported_programs import EXPORT
from gcnet_jax.tasks.segmentation.loss import segmentation_loss
from gcnet_jax.tasks.segmentation.losses import PixelLoss
from gcnet_jax.tasks.segmentation.prediction_run import predict_files
from gcnet_jax.tasks.segmentation.predictor import Predictor
from gcnet_jax.tasks.segmentation.split_evaluation import SegmentationEvaluator
from gcnet_jax.tasks.segmentation.trained_segmentor import TrainedSegmentor
from gcnet_jax.tasks.segmentation.training_pictures import TrainingPictures
from gcnet_jax.tasks.segmentation.weights import FOREIGN


def _loss(config: ConfigDict) -> LossFunction:
    """The config's losses of both heads.

    Raises:
        InputError: class weights are to come from the data set, and it is not there or was prepared
            by a version that did not count.
    """
    pixels = None
    if config.loss.class_weights_from_counts:
        data = config.data
        counts: LabelCounts | None = DATA_SETS.counts(data.name, data.data_dir, data.train_split)
        if counts is None:
            raise InputError(
                f"loss.class_weights_from_counts needs the label counts of '{data.name}', which "
                "an earlier version has prepared without; prepare it again"
            )
        pixels = counts.pixels
    of_pixels = PixelLoss.from_config(config.loss, pixels)
    return segmentation_loss(config.training.auxiliary_loss_weight, of_pixels)


TASK: Task[DatasetClasses] = Task(
    schema=SCHEMA,
    best_metric=BEST_METRIC,
    image_keys=("image", "label"),
    meaning=DatasetClasses,
    data_sets=DATA_SETS,
    foreign=FOREIGN,
    build_model=lambda config, classes: build_model(
        config.model, num_classes=classes.num_classes, seed=config.seed
    ),
    loss=_loss,
    training_batches=training_batches,
    random_samples=random_samples,
    evaluator=SegmentationEvaluator,
    observer=TrainingPictures,
    shown_examples=ShownSegmentations,
    attention=ATTENTION,
    prediction=Prediction(
        network=TrainedSegmentor,
        files=lambda trained, config, *of: predict_files(Predictor.of(trained, config), *of),
        of_image=("_label.png", "_overlay.png"),
        scores="_logits.npy",
        of_video=("_overlay.mp4",),
    ),
    export=EXPORT,
)
