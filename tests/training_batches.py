"""Training batches of the tasks by their data configs, without the rest of a run."""

from gcnet_jax.tasks.classification import data as of_classes
from gcnet_jax.tasks.segmentation import data as of_labels


def labelled_batches(data_config, **options):
    """Segmentation's; options as of `DataSets.training_batches`."""
    transform = of_labels.RandomTransform.from_config(data_config)
    return of_labels.DATA_SETS.training_batches(data_config, transform, **options)


def classified_batches(data_config, **options):
    """Classification's."""
    transform = of_classes.RandomTransform.from_config(data_config)
    return of_classes.DATA_SETS.training_batches(data_config, transform, **options)
