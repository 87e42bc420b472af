"""What an evaluation counts, against a plain computation of each image alone."""

import jax
import numpy as np

from gcnet_jax.models import split_for_evaluation
from gcnet_jax.ops import normalize_images
from gcnet_jax.parallel import create_mesh, place, replicated
from gcnet_jax.tasks.classification.config import default_config
from gcnet_jax.tasks.classification.data import DATA_SETS, ImageClasses, decode
from gcnet_jax.tasks.classification.task import TASK
from gcnet_jax.training import SplitEvaluation


def test_counts_are_those_of_each_images_ranks(scenes_dir):
    config = default_config()
    config.data.name, config.data.data_dir = "context_scenes", str(scenes_dir)
    config.data.crop_size = config.data.resize_size = 64
    config.model.backbone.depth, config.model.backbone.base_channels = 18, 8
    config.model.backbone.num_stages = 1
    config.evaluation.batch_size = 48  # which 400 images do not fill
    classes = ImageClasses.numbered(7)  # more than five, of which four occur
    model = TASK.build_model(config, classes)
    graphdef, variables = split_for_evaluation(model)
    mesh = create_mesh()
    evaluation = SplitEvaluation(TASK, config, classes, graphdef, mesh, split="val")
    samples = [
        decode(record) for record in DATA_SETS.open_split("context_scenes", scenes_dir, "val")
    ]
    labels = np.array([int(sample["label"]) for sample in samples])
    images = normalize_images(np.stack([sample["image"] for sample in samples]))
    totals = []
    for favour in (0, 10):  # of two classes that do not occur: no first is right, and few of five
        bias = np.array([0, 0, 0, 0, favour, favour, 0], np.float32)
        variables["params"]["classifier"]["bias"] = bias
        placed = place(variables, jax.tree.map(lambda _: replicated(mesh), variables))
        found = evaluation(placed).counts
        logits = np.asarray(model(images)) + bias
        ranks = (logits > np.take_along_axis(logits, labels[:, None], 1)).sum(1)
        expected = np.zeros((7, 3), int)
        np.add.at(expected, labels, np.stack([ranks >= 0, ranks < 1, ranks < 5], axis=1))
        assert np.abs(found - expected).sum() <= 2  # logits that are equal within rounding
        np.testing.assert_array_equal(found[:, 0], expected[:, 0])
        totals.append(expected.sum(0).tolist())
    (images_in_all, first, _), (_, none, among_five) = totals
    assert images_in_all == 400 > first > 0
    assert none == 0 < among_five < 400
