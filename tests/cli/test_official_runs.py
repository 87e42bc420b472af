"""From an official release to figures: prepare, train a narrow copy of a published run, evaluate.

The figures are compared with those of a computation of their own, from the files of the release:
one image at a time in NumPy, with nothing of the library but the network.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest

import gcnet_jax
from gcnet_jax.models import merge, split_for_evaluation
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.segmentation.data import DATA_SETS
from tests import official_trees, plain

pytestmark = pytest.mark.slow

NARROW = {
    "model.backbone.depth": 18,
    "model.backbone.base_channels": 8,
    "model.decode_head.channels": 8,
    "model.auxiliary_head.channels": 8,
    "data.crop_size": (33, 40),
    "data.num_workers": 0,
    "training.init_from": "",
    "training.total_steps": 80,
    "training.batch_size": 4,
    "optimizer.learning_rate": 0.05,
    "evaluation.batch_size": 3,
    "evaluation.max_buckets": 2,
    "evaluation.scales": (0.75, 1.5),
}


class Release(NamedTuple):
    """An official data set, and how to read its validation split by hand."""

    run: str
    changes: dict
    make: Callable[..., Path]
    images: str
    labels: Callable[[Path], Path]
    to_class: Callable[[np.ndarray], np.ndarray]


def cityscapes_class(values):
    table = np.full(256, 255)
    table[list(official_trees.CITYSCAPES_IDS)] = range(19)
    return table[values]


RELEASES = {
    "cityscapes": Release(
        "gcnet_r50-d8_4xb2-40k_cityscapes-769x769",
        {
            "data.base_scale": (65, 33),
            "evaluation.window": (25, 33),
            "evaluation.window_stride": (17, 21),
        },
        official_trees.make_cityscapes,
        "leftImg8bit/val/*/*.png",
        lambda image: Path(
            str(image)
            .replace("leftImg8bit/val", "gtFine/val")
            .replace("leftImg8bit.png", "gtFine_labelIds.png")
        ),
        cityscapes_class,
    ),
    "ade20k": Release(
        "gcnet_r101-d8_4xb4-80k_ade20k-512x512",
        {"data.base_scale": (96, 40)},
        official_trees.make_ade20k,
        "ADEChallengeData2016/images/validation/*.jpg",
        lambda image: Path(str(image).replace("/images/", "/annotations/")).with_suffix(".png"),
        lambda values: np.where(values == 0, 255, values.astype(int) - 1),
    ),
    "voc12aug": Release(
        "gcnet_r50-d8_4xb4-20k_voc12aug-512x512",
        {"data.base_scale": (96, 40)},
        official_trees.make_voc12aug,
        "VOCdevkit/VOC2012/JPEGImages/*_1*.jpg",  # the others are for training
        lambda image: image.parents[1] / "SegmentationClass" / f"{image.stem}.png",
        lambda values: values,
    ),
}


def confusion_by_hand(release, source, config, checkpoint, *, multi_scale):
    """Counts by (label, prediction), one image after the other."""
    graphdef, variables = split_for_evaluation(gcnet_jax.load_model(config, checkpoint))
    decode = jax.jit(lambda variables, images: merge(graphdef, variables).decode(images))
    align_corners, evaluation = config.model.align_corners, config.evaluation

    def network(image):
        return np.asarray(decode(variables, image[None]))[0]

    infer = plain.whole(network, align_corners)
    if evaluation.mode == "slide":
        infer = plain.slide(network, align_corners, evaluation.window, evaluation.window_stride)
    classes = DATA_SETS.meaning(config.data.name).num_classes
    confusion = np.zeros((classes, classes), int)
    for path in sorted(source.glob(release.images)):
        image = official_trees.read_rgb(path)
        label = release.to_class(official_trees.read_values(release.labels(path)))
        if multi_scale:
            scores = plain.multi_scale_scores(infer, image, evaluation.scales, align_corners)
        else:
            scores = plain.scores(infer, image, config.data.base_scale, align_corners)
        for row, column in zip(label.ravel(), scores.argmax(-1).ravel(), strict=True):
            if row != 255:
                confusion[row, column] += 1
    return confusion


def mean_iou(confusion):
    scores = []
    for index in range(len(confusion)):
        union = confusion[index].sum() + confusion[:, index].sum() - confusion[index, index]
        if union:
            scores.append(confusion[index, index] / union)
    return sum(scores) / len(scores)


@pytest.mark.parametrize(
    "name",
    [
        "cityscapes",
        *(
            pytest.param(name, marks=pytest.mark.campaign)
            for name in RELEASES
            if name != "cityscapes"
        ),
    ],
)
def test_an_official_release_becomes_figures_that_a_plain_computation_confirms(
    name: str, command: Callable, root: Path, tmp_path: Path
):
    release, source, workdir = RELEASES[name], tmp_path / "source", tmp_path / "run"
    release.make(source, {"train": 6, "val": 4} | ({"test": 1} if name == "cityscapes" else {}))
    prepared = command(
        "prepare_dataset", name, "--subset", f"--source={source}", f"--data_dir={tmp_path}"
    )
    assert prepared.returncode == 0, prepared.stderr

    file = root / "configs" / "gcnet" / f"{release.run}.py"
    changes = NARROW | release.changes | {"data.data_dir": str(tmp_path)}
    arguments = [f"--config={file}", f"--workdir={workdir}"]
    arguments += [f"--config.{key}={value}" for key, value in changes.items()]
    trained = command("train", *arguments)
    assert trained.returncode == 0, trained.stderr

    config = load_config(file)
    config.update_from_flattened_dict(changes)
    for multi_scale in (False, True):
        evaluated = command("evaluate", *arguments, *["--tta"] * multi_scale)
        assert evaluated.returncode == 0, evaluated.stderr
        output = workdir / f"evaluation_val{'_tta' * multi_scale}.json"
        ours = json.loads(output.read_text())
        expected = confusion_by_hand(
            release, source, config, ours["checkpoint"], multi_scale=multi_scale
        )
        assert ours["images"] == 4
        # A tie between two classes may fall either way.
        assert np.abs(np.array(ours["confusion"]) - expected).sum() <= 2e-4 * expected.sum()
        assert ours["summary"]["mIoU"] == pytest.approx(mean_iou(expected), abs=1e-3)
        assert len(np.unique(np.nonzero(expected)[1])) > 1, "all pixels went to one class"
