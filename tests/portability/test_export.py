"""What `train.py` and `evaluate.py` run, lowered for TPUs and GPUs on a machine without any."""

import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from jax import export
from jax.sharding import Mesh, NamedSharding
from jaxtyping import PyTree
from ml_collections import ConfigDict

from gcnet_jax.models import split_for_evaluation
from gcnet_jax.parallel import batch_sharding, create_mesh, replicated
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.segmentation.build_model import build_model
from gcnet_jax.tasks.segmentation.data import DATA_SETS, DatasetClasses, scaled_sizes
from gcnet_jax.tasks.segmentation.evaluation import NetworkInference, create_counter
from gcnet_jax.tasks.segmentation.task import TASK as segmentation
from gcnet_jax.training.program import TrainingProgram

PLATFORMS = ("tpu", "cuda")
RUNS = sorted(path.stem for path in (Path(__file__).parents[2] / "configs/gcnet").glob("*.py"))
# Runs that differ only in how long they train are one program.
PROGRAMS = sorted({re.sub(r"-\d+k_", "_", run): run for run in RUNS}.values())
# Deeper networks repeat the layers of the others.
OF_EACH_DEPTH = [
    pytest.param(run, marks=pytest.mark.campaign) if "r101" in run else run for run in PROGRAMS
]
R50 = "gcnet_r50-d8_4xb2-40k_cityscapes-512x1024"
R101_OF_512 = "gcnet_r101-d8_4xb4-80k_ade20k-512x512"
R50_SLIDING = "gcnet_r50-d8_4xb2-40k_cityscapes-769x769"
STORED = {"cityscapes": (1024, 2048), "ade20k": (512, 683), "voc12aug": (375, 500)}
"""(height, width) of a common image of each data set."""


def on_accelerators(root: Path, run: str) -> ConfigDict:
    config = load_config(root / "configs" / "gcnet" / f"{run}.py")
    config.model.dtype = "bfloat16"
    return config


def of_few_layers(config: ConfigDict) -> ConfigDict:
    """Everything as it was, but the backbone: most of the time goes by its layers."""
    config.model.backbone.depth = 18
    return config


def classes_of(config: ConfigDict) -> int:
    return DATA_SETS.meaning(config.data.name, config.data.data_dir).num_classes


def exported(function: Any, *arguments: PyTree) -> export.Exported:
    """The program of a function under `jax.jit`."""
    return export.export(function, platforms=PLATFORMS)(*arguments)


def check_portable(program: export.Exported, devices: int) -> str:
    """Returns the program's text, as read back from the form that it is stored in."""
    assert program.platforms == PLATFORMS
    assert program.nr_devices == devices
    text = program.mlir_module()
    assert not re.findall(r"custom_call @(\w+)", text), "a kernel of one platform alone"
    assert "f64" not in text, "TPUs have no such numbers"
    return text


def check_convolutions(text: str, dtype: str) -> None:
    results = re.findall(r"stablehlo\.convolution.*-> tensor<[\dx]*x(\w+)>", text)
    assert len(results) > 10
    assert set(results) == {dtype}


def check_split(text: str, shape: tuple[int, ...]) -> None:
    """The arguments of that shape are split by image and by row."""
    of_shape = rf"%arg\d+: tensor<{'x'.join(map(str, shape))}x\w+> (.*?)loc"
    (signature,) = re.findall(r"func\.func public @main.*", text)
    arguments = re.findall(of_shape, signature)
    assert arguments
    for argument in arguments:
        assert '[{"data"}, {"spatial"}, ' in argument


def training(config: ConfigDict, mesh: Mesh) -> export.Exported:
    program = TrainingProgram(
        segmentation, config, DatasetClasses.numbered(classes_of(config)), mesh
    )
    return exported(program.step, *program.shapes)


class Evaluation:
    """The two programs of a `PixelCounter`, and shapes for them."""

    def __init__(self, config: ConfigDict, mesh: Mesh, *, multi_scale: bool = False):
        self.mesh, self.passes = mesh, 2 if multi_scale else 1
        model = nnx.eval_shape(lambda: build_model(config.model, num_classes=classes_of(config)))
        graphdef, variables = split_for_evaluation(model)
        self.inference = NetworkInference(
            graphdef, config.evaluation, mirrored_too=multi_scale, mesh=mesh
        )
        self.variables = jax.tree.map(lambda x: self.shape(x.shape, x.dtype, whole=True), variables)
        self.add_counts = create_counter(self.inference, classes_of(config), mesh)
        stored, batch_size = STORED[config.data.name], config.evaluation.batch_size
        unit = mesh.shape["spatial"] * config.model.backbone.output_stride
        sizes = [*scaled_sizes(stored, config, multi_scale=multi_scale), stored]
        *scaled, label = ((-(-height // unit) * unit, width) for height, width in sizes)
        self.batch = {
            "scaled": [
                {
                    "image": self.shape((batch_size, *size, 3), np.uint8, of_images=True),
                    "size": self.shape((batch_size, 2), np.int32),
                }
                for size in scaled
            ],
            "label": self.shape((batch_size, *label), np.uint8, of_images=True),
            "label_size": self.shape((batch_size, 2), np.int32),
        }
        self.counts = self.shape((2, classes_of(config), classes_of(config)), np.uint32, whole=True)

    def shape(
        self, shape: tuple, dtype: Any, *, whole: bool = False, of_images: bool = False
    ) -> jax.ShapeDtypeStruct:
        sharding = (
            replicated(self.mesh) if whole else batch_sharding(self.mesh, of_images=of_images)
        )
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    def network(self, scale: int) -> export.Exported:
        images = self.batch["scaled"][scale]
        return exported(self.inference.decode_pass, self.variables, images["image"], images["size"])

    def counting(self) -> export.Exported:
        split = NamedSharding(self.mesh, batch_sharding(self.mesh).spec)
        logits = []
        for images in self.batch["scaled"]:
            of_pass = self.inference.decode_pass.lower(
                self.variables, images["image"], images["size"]
            ).out_info
            of_pass = jax.ShapeDtypeStruct(of_pass.shape, of_pass.dtype, sharding=split)
            logits.append([of_pass] * self.passes)
        return exported(self.add_counts, self.counts, self.variables, logits, self.batch)


def check_training(config: ConfigDict, mesh: Mesh) -> None:
    text = check_portable(training(config, mesh), mesh.size)
    check_convolutions(text, "bf16")
    if mesh.size > 1:
        check_split(text, (config.training.batch_size, *config.data.crop_size, 3))


def check_evaluation(config: ConfigDict, mesh: Mesh, *, multi_scale: bool = False) -> None:
    evaluation = Evaluation(config, mesh, multi_scale=multi_scale)
    for scale, scaled in enumerate(evaluation.batch["scaled"]):
        network = check_portable(evaluation.network(scale), mesh.size)
        check_convolutions(network, "bf16")
        if mesh.size > 1:
            check_split(network, scaled["image"].shape)
    counting = check_portable(evaluation.counting(), mesh.size)
    if mesh.size > 1:
        check_split(counting, evaluation.batch["label"].shape)


def test_training_is_lowered_for_tpus_and_gpus(root):
    check_training(of_few_layers(on_accelerators(root, R50)), create_mesh(spatial=2))


@pytest.mark.parametrize("run", [R50, R50_SLIDING])
def test_evaluation_is_lowered_for_tpus_and_gpus(root, run):
    check_evaluation(of_few_layers(on_accelerators(root, run)), create_mesh(spatial=2))


def test_the_published_runs_are_eight_programs(root):
    def what_a_program_depends_on(run):
        config = on_accelerators(root, run)
        config.training.total_steps, config.published_run = 1, ""
        config.training.evaluate_every = config.training.checkpoint_every = 1
        return str(config)

    assert len(RUNS) == 16
    assert len(PROGRAMS) == len({what_a_program_depends_on(run) for run in RUNS}) == 8


@pytest.mark.slow
@pytest.mark.parametrize("run", OF_EACH_DEPTH)
def test_the_training_step_of_every_published_run_is_lowered(root, run):
    check_training(on_accelerators(root, run), create_mesh())


@pytest.mark.slow
@pytest.mark.parametrize("run", OF_EACH_DEPTH)
def test_the_evaluation_of_every_published_run_is_lowered(root, run):
    check_evaluation(on_accelerators(root, run), create_mesh())


@pytest.mark.slow
@pytest.mark.parametrize("run", [R50, pytest.param(R50_SLIDING, marks=pytest.mark.campaign)])
def test_programs_for_one_device_are_lowered(root, run):
    config, mesh = on_accelerators(root, run), create_mesh(jax.devices()[:1])
    check_training(config, mesh)
    check_evaluation(config, mesh)


@pytest.mark.slow
@pytest.mark.parametrize("run", [R50, pytest.param(R101_OF_512, marks=pytest.mark.campaign)])
def test_training_with_images_split_over_devices_is_lowered(root, run):
    """Crops of 769 rows do not split."""
    check_training(on_accelerators(root, run), create_mesh(spatial=2))


@pytest.mark.slow
def test_training_with_parameters_spread_over_the_devices_is_lowered(root):
    config = on_accelerators(root, R50)
    config.parallel.fsdp = True
    check_training(config, create_mesh())


@pytest.mark.slow
@pytest.mark.parametrize("run", [pytest.param(R50, marks=pytest.mark.campaign), R50_SLIDING])
def test_evaluation_at_several_scales_with_flips_is_lowered(root, run):
    check_evaluation(on_accelerators(root, run), create_mesh(), multi_scale=True)


@pytest.mark.slow
def test_float32_is_lowered_too(root):
    config = load_config(root / "configs" / "gcnet" / f"{R50}.py")
    check_convolutions(check_portable(training(config, create_mesh()), 8), "f32")
