"""From the files of mmdetection, and from the names of published runs, to detectors and back."""

import functools
import hashlib
import pickle

import numpy as np
import pytest

import gcnet_jax
from gcnet_jax.errors import InputError
from gcnet_jax.interop import (
    PublishedFile,
    published_name,
    read_torch_checkpoint,
    write_torch_checkpoint,
)
from gcnet_jax.tasks import runs
from gcnet_jax.tasks.detection.build_model import build_model
from gcnet_jax.tasks.detection.classes import ObjectClasses, known_classes
from gcnet_jax.tasks.detection.config import default_config
from gcnet_jax.tasks.detection.weights import FOREIGN
from tests.hand_made_pth import PROTOCOL, file_of, tensor, text
from tests.tasks.detection.narrow_detector import CLASSES, narrow_config, narrow_detector

NAMES = ("ant", "bee", "cat", "dog", "eel")
PALETTE = tuple((10 * i, 255 - i, i) for i in range(CLASSES))
RUN = "mask-rcnn_r50-gcb-r4-c3-c5_fpn_1x_coco"


@pytest.fixture(scope="module")
def config():
    config = default_config()
    config.model = narrow_config()
    return config


@pytest.fixture(scope="module")
def arrays():
    return FOREIGN.export_state_dict(narrow_detector())


@pytest.fixture(scope="module")
def pth(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "narrow.pth"
    classes = ObjectClasses(NAMES, PALETTE)
    write_torch_checkpoint(path, arrays, FOREIGN.meaning_to_meta(classes))
    return path


def legacy_file(arrays, meta):
    """The same in the format before PyTorch 1.6, as MMCV left it: of parallel training."""
    tensors, rows = b"", {}
    for index, (name, array) in enumerate(arrays.items()):
        array = np.asarray(array, np.float32, order="C")
        rows[str(index)] = array.tobytes()
        strides = [step // 4 for step in array.strides]
        tensors += text(f"module.{name}")
        tensors += tensor(array.shape, strides, count=array.size, key=str(index))
    plain = pickle.dumps(meta, 2)[2:-1]
    program = PROTOCOL + b"}(" + text("meta") + plain + text("state_dict") + b"}(" + tensors
    return file_of(program + b"uu.", "legacy", rows)


def assert_has(model, arrays):
    found = FOREIGN.export_state_dict(model)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_a_file_of_mmdetection_goes_in_and_out(pth, config, arrays, tmp_path):
    net = gcnet_jax.load(pth, config=config)
    assert (net.classes.names, net.classes.palette) == (NAMES, PALETTE)
    assert net.source == pth
    assert_has(net.model, arrays)
    meta = FOREIGN.meaning_to_meta(net.classes)
    write_torch_checkpoint(tmp_path / "out.pth", FOREIGN.export_state_dict(net.model), meta)
    assert (tmp_path / "out.pth").read_bytes() == pth.read_bytes()
    assert read_torch_checkpoint(pth).meta["dataset_meta"]["classes"] == list(NAMES)


def test_a_file_of_before_pytorch_1_6_and_mmdetection_3_goes_in(config, arrays, tmp_path):
    (tmp_path / "old.pth").write_bytes(legacy_file(arrays, {"CLASSES": NAMES, "epoch": 12}))
    net = gcnet_jax.load(str(tmp_path / "old.pth"), config=config)
    assert (net.classes.names, net.classes.palette) == (NAMES, None)
    assert_has(net.model, arrays)


def test_classes_are_the_data_sets_where_a_file_names_none(config, arrays, tmp_path):
    path = tmp_path / "bare.pth"
    write_torch_checkpoint(path, arrays, {})
    with pytest.raises(InputError, match=r"bare\.pth names no classes.*set data\.name"):
        gcnet_jax.load(path, config=config)
    of_coco = config.copy_and_resolve_references()
    of_coco.data.name = "coco"
    model = build_model(of_coco.model, num_classes=80)
    write_torch_checkpoint(path, FOREIGN.export_state_dict(model), {})
    assert gcnet_jax.load(path, config=of_coco).classes == known_classes("coco")
    of_coco.data.name = "farm"
    with pytest.raises(InputError, match=r"data set 'farm' is not prepared"):
        gcnet_jax.load(path, config=of_coco)


def test_the_classes_of_coco_have_their_order():
    names = known_classes("coco").names
    assert len(set(names)) == len(names) == 80
    places = {"person": 0, "bicycle": 1, "stop sign": 11, "cat": 15, "wine glass": 40}
    places |= {"donut": 54, "tv": 62, "teddy bear": 77, "toothbrush": 79}
    assert {name: names.index(name) for name in places} == places


def test_a_file_of_another_detector_is_refused_in_a_line_that_names_its_entries(
    pth, config, arrays, tmp_path
):
    other = config.copy_and_resolve_references()
    head = other.model.box_head
    head.class_agnostic = True
    head.center_stds, head.size_stds = (0.1,) * 3, (0.2,) * 3
    head.train.iou_thresholds, head.train.loss_weights = (0.5, 0.6, 0.7), (1.0, 0.5, 0.25)
    with pytest.raises(
        InputError, match=r"narrow\.pth: .*roi_head\.bbox_head\.2\.fc_cls"
    ) as raised:
        gcnet_jax.load(pth, config=other)
    assert "\n" not in str(raised.value)
    fewer = FOREIGN.meaning_to_meta(ObjectClasses(NAMES[:3]))
    write_torch_checkpoint(tmp_path / "fewer.pth", arrays, fewer)
    with pytest.raises(InputError, match=r"fc_cls\.weight \(\(6, 32\) instead of \(4, 32\)\)"):
        gcnet_jax.load(tmp_path / "fewer.pth", config=config)
    segmentor = {"decode_head.conv_seg.weight": np.zeros((3, 4, 1, 1), np.float32)}
    write_torch_checkpoint(tmp_path / "other.pth", segmentor, fewer)
    with pytest.raises(InputError, match=r"1 unexpected: decode_head\.conv_seg\.weight"):
        gcnet_jax.load(tmp_path / "other.pth", config=config)


def test_a_bare_file_needs_its_config(pth):
    with pytest.raises(InputError, match=r"does not say which network.*config=NAME"):
        gcnet_jax.load(pth)


def test_a_file_with_the_content_of_a_published_one_needs_no_config(
    pth, config, monkeypatch, tmp_path
):
    digest = hashlib.sha256(pth.read_bytes()).hexdigest()
    files = {RUN: PublishedFile("https://localhost/narrow.pth", digest[:8])}
    found = functools.partial(published_name, files=files)
    monkeypatch.setattr(runs, "published_name", found)
    monkeypatch.setattr(runs, "load_config", lambda file: {RUN: config}[file.stem])
    assert gcnet_jax.load(pth).config == config


def test_the_name_of_a_published_detector_means_its_config_and_its_weights(
    pth, config, monkeypatch, arrays
):
    monkeypatch.setattr(
        "gcnet_jax.training.pretrained.fetch_published", lambda name: {RUN: pth}[name]
    )
    net = gcnet_jax.load(RUN, config=config)
    assert_has(net.model, arrays)
    with pytest.raises(
        InputError, match=r"narrow\.pth.*instead of"
    ):  # what the config's own has not
        gcnet_jax.load(RUN)
