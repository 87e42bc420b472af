"""A narrow network of each task with random weights, and its exported file."""

import functools
import re
import zipfile
from typing import NamedTuple

import jax
import numpy as np
import pytest
from etils import epath
from flax import nnx

from gcnet_jax.export import export_stablehlo
from gcnet_jax.task import PretrainedModel
from gcnet_jax.tasks import TASKS, task_of
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.training import save_model

CONFIGS = {
    "segmentation": ("context_shapes/gcnet.py",),
    "classification": ("context_scenes/gcnet.py",),
    "detection": ("instances/mask-rcnn_nuclei.py", "context_objects"),
}
SIZES = ((60, 90), (60, 90), (48, 100))
"""Of the images, of which two go through a network together."""


of_classification = pytest.mark.parametrize("exported", ["classification"], indirect=True)
of_detection = pytest.mark.parametrize(
    "exported", [pytest.param("detection", marks=pytest.mark.campaign)], indirect=True
)
of_segmentation = pytest.mark.parametrize("exported", ["segmentation"], indirect=True)


class Exported(NamedTuple):
    """A checkpoint and the file that it was exported to."""

    task: str
    checkpoint: epath.Path
    file: epath.Path


def narrow_config(task, root):
    """The config of a network of one or two stages with few channels."""
    file, *arguments = CONFIGS[task]
    config = load_config(root / "configs" / file, *arguments)
    model = config.model
    model.backbone.base_channels, model.backbone.num_stages = 8, 1
    if task == "segmentation":
        model.decode_head.channels = 8
        config.data.base_scale = (96, 64)
    else:
        model.backbone.context.stages = (0,)
    if task == "classification":
        config.data.resize_size, config.data.crop_size = 40, 32
    if task == "detection":
        config.data.base_scale, model.test.max_per_image = (32, 32), 4
        config.evaluation.batch_size = 2
        model.neck.channels = model.rpn.channels = model.mask_head.channels = 8
        model.box_head.channels, model.mask_head.convolutions = 8, 1
        model.test.score_threshold = 0.0
        for proposals in (model.rpn.train, model.rpn.test):
            proposals.nms_pre, proposals.max_per_image = 20, 10
    return config


def random_model(config):
    """A network whose outputs differ from place to place, as those of trained ones do."""
    task = task_of(config)
    meaning = task.data_sets.meanings[config.data.name]
    model = task.build_model(config, meaning)
    random = np.random.default_rng(0)  # JAX would compile a program for each shape
    state = nnx.state(model, nnx.Param)
    state = jax.tree.map(
        lambda x: (
            x + np.float32(0.2) * random.standard_normal(x.shape, np.float32) if x.ndim > 1 else x
        ),
        state,
    )
    nnx.update(model, state)
    return model, meaning


def entries_of(file):
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def lines_of_docs(root, file):
    """The code of docs/export.md that runs without this library, by its first two words."""
    page = (root / "docs" / "export.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    code = {" ".join(re.findall(r"[\w=]+", block)[:2]): block for block in blocks}
    return {name: re.sub(r"shapes\.(gcnet|onnx)", str(file), block) for name, block in code.items()}


def photographs():
    """Images of the sizes, the same each time."""
    random = np.random.default_rng(0)
    images = []
    for size in SIZES:
        coarse = random.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        rows, columns = (np.arange(n) * k // n for n, k in zip(size, (4, 6), strict=True))
        images.append(np.ascontiguousarray(coarse[rows][:, columns]))
    return images


def saved_model(config, folder):
    """A random network in a checkpoint."""
    model, meaning = random_model(config)
    save_model(folder, model, config, meaning)
    return PretrainedModel(model, meaning, folder)


@pytest.fixture(scope="session")
def export_of(root, tmp_path_factory):
    """Makes the file of a task, once."""

    @functools.cache
    def make(task):
        folder = epath.Path(tmp_path_factory.mktemp(task))
        config = narrow_config(task, root)
        pretrained = saved_model(config, folder / "checkpoint")
        named = [(f"photo {i}", image) for i, image in enumerate(photographs()[:2])]
        export_stablehlo(task_of(config), config, pretrained, named, folder / "network.gcnet")
        return Exported(task, folder / "checkpoint", folder / "network.gcnet")

    return make


@pytest.fixture(
    params=[
        # A detector takes a minute to compile for all that it is compared with.
        pytest.param(task, marks=pytest.mark.campaign if task == "detection" else ())
        for task in TASKS
    ]
)
def exported(request, export_of):
    return export_of(request.param)
