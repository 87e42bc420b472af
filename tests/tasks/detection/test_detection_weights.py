"""Weights of detectors and of backbones to start them from, by foreign names."""

import numpy as np
import pytest

from gcnet_jax.errors import InputError
from gcnet_jax.interop import write_torch_checkpoint
from gcnet_jax.tasks.detection.build_model import build_model
from gcnet_jax.tasks.detection.classes import ObjectClasses
from gcnet_jax.tasks.detection.config import default_config
from gcnet_jax.tasks.detection.task import TASK
from gcnet_jax.tasks.detection.weights import FOREIGN
from gcnet_jax.training.pretrained import initialize


def detector(**options):
    config = default_config().model
    config.backbone.depth = 50
    config.backbone.base_channels = 8
    config.backbone.num_stages = 2
    config.backbone.context.stages = (1,)
    config.neck.channels = config.rpn.channels = config.mask_head.channels = 8
    config.box_head.channels = 16
    config.update_from_flattened_dict(options)
    return build_model(config, num_classes=3)


def test_an_imagenet_backbone_starts_a_detectors_and_leaves_what_is_added():
    plain = detector().backbone
    given = FOREIGN.export_state_dict(plain)
    given |= {"fc.weight": np.zeros((1000, 64)), "fc.bias": np.zeros(1000)}  # as torchvision has it
    options = {"backbone.deformable_stages": (1,), "backbone.context.block": "global_context"}
    backbone = detector(**options).backbone
    before = FOREIGN.export_state_dict(backbone)
    added = FOREIGN.added_entries(backbone)
    FOREIGN.import_state_dict(backbone, given, may_lack=added)
    after = FOREIGN.export_state_dict(backbone)
    assert after.keys() - given.keys() == added
    assert "layer2.0.conv2.conv_offset.bias" in added
    assert "layer2.0.context_block.conv_mask.weight" in added
    for name, array in after.items():
        np.testing.assert_array_equal(array, (before if name in added else given)[name])


def test_a_run_starts_from_an_imagenet_backbone_by_its_name(monkeypatch, tmp_path):
    """Here a ResNeXt's, without the blocks and the offsets that the detector adds to it."""
    options = {"backbone.groups": 2, "backbone.base_width": 16}
    given = FOREIGN.export_state_dict(detector(**options).backbone)
    write_torch_checkpoint(tmp_path / "resnext.pth", given | {"fc.bias": np.zeros(1000)}, {})
    files = {"resnext101_32x4d": tmp_path / "resnext.pth"}
    monkeypatch.setattr("gcnet_jax.training.pretrained.fetch_published", files.__getitem__)
    config = default_config()
    config.training.init_from = "resnext101_32x4d"
    options |= {"backbone.deformable_stages": (1,), "backbone.context.block": "global_context"}
    model = detector(**options)
    said = initialize(TASK, model, config, ObjectClasses.numbered(3))
    assert said.startswith("backbone from ")
    assert said.endswith("resnext.pth, what is added to it from scratch")
    after = FOREIGN.export_state_dict(model.backbone)
    for name, array in given.items():
        np.testing.assert_array_equal(after[name], array)


def test_a_checkpoint_of_another_detector_is_refused_by_name():
    three_stages = {
        "box_head.class_agnostic": True,
        "box_head.center_stds": (0.1,) * 3,
        "box_head.size_stds": (0.2,) * 3,
        "box_head.train.iou_thresholds": (0.5, 0.6, 0.7),
        "box_head.train.loss_weights": (1.0, 0.5, 0.25),
    }
    cascade = FOREIGN.export_state_dict(detector(**three_stages))
    with pytest.raises(InputError, match=r"roi_head\.bbox_head\.fc_cls.*bbox_head\.2\.fc_cls"):
        FOREIGN.import_state_dict(detector(), cascade)


def test_what_depends_on_the_classes_is_named():
    entries = FOREIGN.export_state_dict(detector())
    assert {name for name in entries if FOREIGN.outputs.fullmatch(name)} == {
        f"roi_head.{layer}.{part}"
        for layer in ("bbox_head.fc_cls", "bbox_head.fc_reg", "mask_head.conv_logits")
        for part in ("weight", "bias")
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone.output_stride": 16}, r"output_stride is 16; expected 32"),
        ({"box_head.size_stds": (0.2, 0.1)}, r"size_stds is \(0\.2, 0\.1\); expected 1 values"),
        ({"rpn.train.negative_iou": 0.8}, r"negative_iou is 0\.8; expected no more than .* 0\.7"),
        ({"backbone.frozen_stages": 3}, r"frozen_stages is 3, but the backbone has 2 stages"),
        ({"backbone.deformable_stages": (3,)}, r"deformable_stages is 3, but .* has 2 stages"),
        (
            {
                "box_head.center_stds": (0.1, 0.1),
                "box_head.size_stds": (0.2, 0.2),
                "box_head.train.iou_thresholds": (0.5, 0.6),
                "box_head.train.loss_weights": (1.0, 1.0),
            },
            r"class_agnostic is False, and there are 2 stages; expected True",
        ),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        detector(**options)
