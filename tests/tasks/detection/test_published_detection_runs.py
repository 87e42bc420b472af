"""The configs of published detectors: they say what the reference ran, and count its weights."""

import ast
import json
import math

import pytest
from flax import nnx

from gcnet_jax.config import in_steps, load_config
from gcnet_jax.errors import InputError
from gcnet_jax.models import frozen_parameters
from gcnet_jax.nn import BatchNorm, ContextBlock, DeformableConv
from gcnet_jax.ops.normalization import IMAGE_MEAN, IMAGE_STD
from gcnet_jax.tasks.detection.build_model import build_model
from gcnet_jax.tasks.detection.config import SCHEMA
from gcnet_jax.tasks.detection.detector import DIVISOR
from gcnet_jax.tasks.detection.published_results import published_detectors
from tests.conftest import ROOT

FOLDER = ROOT / "configs" / "coco"
STORED = ROOT / "tests" / "reference" / "golden" / "detection" / "published_det_runs.json"
PUBLISHED = json.loads(STORED.read_text())
BACKBONES = {
    "torchvision://resnet50": "resnet50_v1b",
    "torchvision://resnet101": "resnet101_v1b",
    "open-mmlab://resnext101_32x4d": "resnext101_32x4d",
}
IMAGES = 117_266  # of COCO that have objects
STEPS_AN_EPOCH = 7330


def config_of(run, *schedule):
    config = load_config(FOLDER / f"{run}.py", *schedule, schema_of=lambda config: SCHEMA)
    return in_steps(config, IMAGES)


@pytest.fixture(scope="module")
def networks_of():
    """`networks_of(run)`: its networks without arrays, made once for runs with the same."""
    made = {}

    def networks(run):
        config = config_of(run).model
        config.backbone.norm_eval = False  # which changes no parameter
        key = config.to_json()
        if key not in made:
            made[key] = nnx.eval_shape(lambda: build_model(config, num_classes=80))
        return made[key]

    return networks


def sizes(part):
    """The number of values of each parameter of a part, by its path."""
    state = nnx.to_flat_state(nnx.state(part, nnx.Param))
    return {".".join(map(str, path)): math.prod(x.shape) for path, x in state}


def size(part):
    return sum(sizes(part).values())


def of_kind(model, kind):
    return [module for _, module in nnx.iter_graph(model) if isinstance(module, kind)]


def test_every_published_run_has_a_config():
    assert {file.stem for file in FOLDER.glob("*.py")} == set(PUBLISHED)


@pytest.mark.parametrize("run", PUBLISHED)
def test_every_part_has_as_many_parameters_as_in_the_reference(run, networks_of):
    published, found = PUBLISHED[run], networks_of(run)
    offsets = [module.offset for module in of_kind(found.backbone, DeformableConv)]
    assert published["n_params_per_part"] == {
        "backbone": size(found.backbone),
        "neck": size(found.neck),
        "rpn_head": size(found.rpn_head),
        "bbox_head": sum(map(size, found.box_heads)),
        "mask_head": sum(map(size, found.mask_heads)),
        "context_blocks": sum(map(size, of_kind(found.backbone, ContextBlock))),
        "deform_offsets": sum(map(size, offsets)),
    }
    assert len(of_kind(found.backbone, BatchNorm)) == published["n_batchnorms"]
    counts = sizes(found.backbone)
    frozen = sum(counts[path] for path in frozen_parameters(found.backbone))
    assert published["n_params"] - frozen == published["n_trainable"]


@pytest.mark.parametrize("run", PUBLISHED)
def test_a_detectors_config_says_what_the_reference_ran(run):
    config, published = config_of(run), PUBLISHED[run]
    model, train, test = config.model, published["train_cfg"], published["test_cfg"]
    heads, regions = published["roi_head"]["bbox_head"], train["rcnn"]
    heads, regions = (x if isinstance(x, list) else [x] for x in (heads, regions))
    assigner, sampler = train["rpn"]["assigner"], train["rpn"]["sampler"]
    optimizer, (warmup, schedule) = published["optimizer"]["optimizer"], published["lr"]
    assert model.rpn.train.to_dict() == {
        "nms_pre": train["rpn_proposal"]["nms_pre"],
        "max_per_image": train["rpn_proposal"]["max_per_img"],
        "iou_threshold": train["rpn_proposal"]["nms"]["iou_threshold"],
        "positive_iou": assigner["pos_iou_thr"],
        "negative_iou": assigner["neg_iou_thr"],
        "minimum_positive_iou": assigner["min_pos_iou"],
        "samples": sampler["num"],
        "positive_fraction": sampler["pos_fraction"],
        "allowed_border": train["rpn"]["allowed_border"],
        "smooth_l1_beta": published["rpn_head"]["loss_bbox"].get("beta", 0.0),
    }
    assert model.rpn.test.to_dict() == {
        "nms_pre": test["rpn"]["nms_pre"],
        "max_per_image": test["rpn"]["max_per_img"],
        "iou_threshold": test["rpn"]["nms"]["iou_threshold"],
    }
    assert model.box_head.train.to_dict() == {
        "iou_thresholds": tuple(stage["assigner"]["pos_iou_thr"] for stage in regions),
        "low_quality_matches": regions[0]["assigner"]["match_low_quality"],
        "loss_weights": tuple(published["roi_head"].get("stage_loss_weights", [1])),
        "samples": regions[0]["sampler"]["num"],
        "positive_fraction": regions[0]["sampler"]["pos_fraction"],
        "smooth_l1_beta": heads[0]["loss_bbox"].get("beta", 0.0),
    }
    assert model.test.to_dict() == {
        "score_threshold": test["rcnn"]["score_thr"],
        "iou_threshold": test["rcnn"]["nms"]["iou_threshold"],
        "max_per_image": test["rcnn"]["max_per_img"],
        "mask_threshold": test["rcnn"]["mask_thr_binary"],
    }
    stds = zip(model.box_head.center_stds, model.box_head.size_stds, strict=True)
    assert [[center, center, size, size] for center, size in stds] == [
        head["bbox_coder"]["target_stds"] for head in heads
    ]
    for ours, theirs in (
        (model.backbone.norm_eval, published["backbone"]["norm_eval"]),
        (model.backbone.frozen_stages, published["backbone"]["frozen_stages"]),
        (config.optimizer.learning_rate, optimizer["lr"]),
        (config.optimizer.momentum, optimizer["momentum"]),
        (config.optimizer.weight_decay, optimizer["weight_decay"]),
        (config.optimizer.decay_factor, schedule["gamma"]),
        (config.optimizer.milestones, tuple(STEPS_AN_EPOCH * n for n in schedule["milestones"])),
        (config.optimizer.warmup_steps, warmup["end"]),
        (config.optimizer.warmup_ratio, warmup["start_factor"]),
        (config.training.batch_size, published["global_batch"]),
        (config.training.total_steps, STEPS_AN_EPOCH * published["max_epochs"]),
        (config.data.keep_empty, not published["filter_cfg"]["filter_empty_gt"]),
        (config.data.min_size, published["filter_cfg"]["min_size"]),
        (config.training.init_from, BACKBONES[published["pretrained"]]),
        (config.training.init_part, "backbone"),
        (config.published_run, run),
        (config.data.name, "coco"),
        ("sgd", optimizer["type"].lower()),
    ):
        assert ours == theirs
    loading, annotations, resize, flip, packing = published["train_pipeline"]
    assert annotations == {"type": "LoadAnnotations", "with_bbox": True, "with_mask": True}
    assert resize["keep_ratio"]
    assert list(config.data.base_scale) == resize["scale"] == published["test_scale"]
    assert config.data.train_scales == ()
    assert config.data.flip_probability == flip["prob"]
    assert [loading["type"], packing["type"]] == ["LoadImageFromFile", "PackDetInputs"]
    assert published["data_preprocessor"]["pad_size_divisor"] == DIVISOR
    assert tuple(published["data_preprocessor"]["mean"]) == IMAGE_MEAN
    assert tuple(published["data_preprocessor"]["std"]) == IMAGE_STD
    assert [model.rpn.anchor_scale] == published["rpn_head"]["anchor_generator"]["scales"]


@pytest.mark.parametrize(
    ("schedule", "epochs", "falls"),
    [("1x", 12, (8, 11)), ("20e", 20, (16, 19)), ("2x", 24, (16, 22))],
)
def test_the_schedules_of_the_reference_go_by_its_names(schedule, epochs, falls):
    config = config_of("mask-rcnn_r50_fpn_1x_coco", schedule)
    assert config.training.total_steps == epochs * STEPS_AN_EPOCH
    assert config.optimizer.milestones == tuple(n * STEPS_AN_EPOCH for n in falls)
    assert config.training.evaluate_every == config.training.checkpoint_every == STEPS_AN_EPOCH
    assert config.optimizer.warmup_steps == 500
    with pytest.raises(InputError, match="there is no schedule '3x'; expected 1x, 20e, 2x"):
        config_of("mask-rcnn_r50_fpn_1x_coco", "3x")


@pytest.mark.parametrize("run", PUBLISHED)
def test_a_detectors_file_says_how_to_train_it_and_what_to_expect(run):
    published = PUBLISHED[run]
    says = " ".join(ast.get_docstring(ast.parse((FOLDER / f"{run}.py").read_text())).split())
    box, mask = (next(iter(figures.values())) for figures in published["published"].values())
    memory = published["training_memory_gb"]
    for expected in (
        f"gcnet train \\ --config=coco/{run} \\ --workdir=runs/{run}",
        f"{published['max_epochs']} epochs.",
        f"Published: {box} box AP, {mask} mask AP; trained on 8 GPUs with "
        f"{published['batch_per_gpu']} images each" + (f", {memory} GB a GPU." if memory else "."),
    ):
        assert expected in says
    (result,) = (result for result in published_detectors() if result.run == run)
    assert result[1:] == (box, mask, memory)


@pytest.mark.parametrize("run", ["mask-rcnn_r50_fpn_1x_coco", "mask-rcnn_r50-syncbn_fpn_1x_coco"])
def test_as_much_of_the_normalisation_trains_as_in_the_reference(run):
    config = config_of(run).model
    backbone = nnx.eval_shape(lambda: build_model(config, num_classes=80)).backbone
    backbone.train()
    training = [norm for norm in of_kind(backbone, BatchNorm) if not norm.by_running_average]
    assert len(training) == PUBLISHED[run]["n_batchnorms_in_training_mode"]
