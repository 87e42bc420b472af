"""What `gcnet quickstart --task=detection` compares, and the page that it draws."""

import functools
import json
import subprocess
import sys

import cv2
import jax
import numpy as np
import pytest
from etils import epath
from flax import nnx

from gcnet_jax.cli.detection_page import DEMONSTRATION
from gcnet_jax.cli.with_and_without import Pair
from gcnet_jax.config import find_config, to_plain
from gcnet_jax.data.shapes_under_sky import CUE_DISTANCE, WIDE_SKY, draw_shapes_under_sky
from gcnet_jax.models import merge, split_for_evaluation
from gcnet_jax.ops import normalize_images
from gcnet_jax.task import TrainedModel
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.detection.build_model import build_model
from gcnet_jax.tasks.detection.data import DATA_SETS, prepare
from gcnet_jax.tasks.detection.data.sources import context_objects


def configs():
    return [load_config(find_config(name)) for name in DEMONSTRATION.configs.values()]


def model_of(config):
    classes = DATA_SETS.meaning(config.data.name)
    return build_model(config.model, num_classes=classes.num_classes, seed=config.seed)


def test_the_networks_differ_by_the_block_and_by_nothing_else():
    with_block, without = configs()
    assert to_plain(with_block) != to_plain(without)
    with_block.model.backbone.context = without.model.backbone.context
    assert to_plain(with_block) == to_plain(without)

    weights = [
        {jax.tree_util.keystr(path): x for path, x in jax.tree.leaves_with_path(params)}
        for params in (nnx.to_pure_dict(nnx.state(model_of(x), nnx.Param)) for x in configs())
    ]
    assert weights[0].keys() > weights[1].keys()
    assert all("context" in name for name in weights[0].keys() - weights[1].keys())
    for name, value in weights[1].items():
        np.testing.assert_array_equal(weights[0][name], value)


def test_the_block_alone_tells_objects_at_the_far_end_of_the_sky():
    drawn = [draw_shapes_under_sky(1, 0, scene, WIDE_SKY) for scene in ("day", "night")]
    images = normalize_images(np.stack([x.image for x in drawn]))
    sizes = np.array([WIDE_SKY.size] * 2)
    last_of_sky = np.flatnonzero(drawn[0].sky.any(0))[-1]  # the sky is at the left

    @functools.partial(jax.jit, static_argnums=0)
    def finest_features(graphdef, variables, key):
        # Moves what is zero at first, too: a block's last layer, and scales of norms.
        keys = iter(jax.random.split(key, len(jax.tree.leaves(variables))))
        moved = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(next(keys), x.shape), variables)
        return merge(graphdef, moved).pyramid(images, sizes).maps[0]

    for config, the_block in zip(configs(), (True, False), strict=True):
        features = finest_features(*split_for_evaluation(model_of(config)), jax.random.key(0))
        stride = images.shape[2] // features.shape[2]
        told = stride * np.flatnonzero((features[0] != features[1]).any(axis=(0, 2)))
        assert told.min() == 0
        if the_block:
            assert told.max() == WIDE_SKY.size[1] - stride
        else:  # so that it takes a region much larger than its object to reach the sky
            assert told.max() < last_of_sky + CUE_DISTANCE - 16


@pytest.mark.slow
def test_the_page_has_a_row_an_image_with_what_is_in_it_and_what_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(context_objects, "SPLIT_SIZES", {"train": 20, "val": 10, "test": 10})
    prepare("context_objects", tmp_path)
    config = configs()[0]
    network = TrainedModel(
        *split_for_evaluation(model_of(config)),
        meaning=DATA_SETS.meaning("context_objects"),
        checkpoint=epath.Path(tmp_path),
    )
    page = epath.Path(tmp_path) / "page.png"
    DEMONSTRATION.draw(page, Pair(network, network), [], epath.Path(tmp_path))
    picture = cv2.imread(str(page))
    assert picture is not None
    assert picture.shape[1] == 1200
    top = picture[40:780]  # six rows of 64x160 pixels in columns of 300
    image, objects = (top[:, 300 * i + 10 : 300 * i + 290].astype(int) for i in (0, 1))
    changed = np.abs(image - objects).max(-1) > 20
    assert 0.02 < changed.mean() < 0.5


@pytest.mark.campaign
def test_the_block_is_worth_10_points_of_box_ap(root, tmp_path):
    script = root / "scripts" / "quickstart.py"
    process = subprocess.run(
        [sys.executable, script, "--task=detection", f"--output_dir={tmp_path}"],
        capture_output=True,
        text=True,
        timeout=3600,
    )
    assert process.returncode == 0, process.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    ap = {row["network"]: 100 * row["box AP"] for row in results["box AP"]}
    assert ap["mask-rcnn_gcb"] - ap["mask-rcnn"] >= 10, ap
