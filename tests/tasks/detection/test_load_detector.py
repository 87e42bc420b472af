"""From the files of mmdetection, and from the names of published runs, to detectors and back."""

import functools
import hashlib
import http.server
import pickle
import threading

import numpy as np
import pytest

from gcnet_jax.errors import InputError
from gcnet_jax.interop import PublishedFile, read_torch_checkpoint, write_torch_checkpoint
from gcnet_jax.tasks.detection import load_detector, loading
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
    net = load_detector(pth, config=config)
    assert (net.classes.names, net.classes.palette) == (NAMES, PALETTE)
    assert net.source == pth
    assert_has(net.model, arrays)
    meta = FOREIGN.meaning_to_meta(net.classes)
    write_torch_checkpoint(tmp_path / "out.pth", FOREIGN.export_state_dict(net.model), meta)
    assert (tmp_path / "out.pth").read_bytes() == pth.read_bytes()
    assert read_torch_checkpoint(pth).meta["dataset_meta"]["classes"] == list(NAMES)


def test_a_file_of_before_pytorch_1_6_and_mmdetection_3_goes_in(config, arrays, tmp_path):
    (tmp_path / "old.pth").write_bytes(legacy_file(arrays, {"CLASSES": NAMES, "epoch": 12}))
    net = load_detector(str(tmp_path / "old.pth"), config=config)
    assert (net.classes.names, net.classes.palette) == (NAMES, None)
    assert_has(net.model, arrays)


def test_classes_are_the_data_sets_where_a_file_names_none(config, arrays, tmp_path):
    path = tmp_path / "bare.pth"
    write_torch_checkpoint(path, arrays, {})
    with pytest.raises(InputError, match=r"bare\.pth names no classes.*set data\.name"):
        load_detector(path, config=config)
    of_coco = config.copy_and_resolve_references()
    of_coco.data.name = "coco"
    model = build_model(of_coco.model, num_classes=80)
    write_torch_checkpoint(path, FOREIGN.export_state_dict(model), {})
    assert load_detector(path, config=of_coco).classes == known_classes("coco")
    of_coco.data.name = "farm"
    with pytest.raises(InputError, match=r"classes of the data set 'farm' are not known; .* coco"):
        load_detector(path, config=of_coco)


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
        load_detector(pth, config=other)
    assert "\n" not in str(raised.value)
    fewer = FOREIGN.meaning_to_meta(ObjectClasses(NAMES[:3]))
    write_torch_checkpoint(tmp_path / "fewer.pth", arrays, fewer)
    with pytest.raises(InputError, match=r"fc_cls\.weight \(\(6, 32\) instead of \(4, 32\)\)"):
        load_detector(tmp_path / "fewer.pth", config=config)
    segmentor = {"decode_head.conv_seg.weight": np.zeros((3, 4, 1, 1), np.float32)}
    write_torch_checkpoint(tmp_path / "other.pth", segmentor, fewer)
    with pytest.raises(InputError, match=r"1 unexpected: decode_head\.conv_seg\.weight"):
        load_detector(tmp_path / "other.pth", config=config)


def test_a_bare_file_needs_its_config(pth):
    with pytest.raises(InputError, match=r"does not say which network.*config=NAME"):
        load_detector(pth)


@pytest.fixture
def server(pth):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=pth.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def published(pth, config, server, monkeypatch, tmp_path):
    """The narrow detector as if it were one of the published ones."""
    address = f"http://127.0.0.1:{server.server_address[1]}/narrow.pth"
    digest = hashlib.sha256(pth.read_bytes()).hexdigest()
    files = {RUN: PublishedFile(address, digest[:8])}
    monkeypatch.setattr(loading, "published_detectors", lambda: files)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "configs" / "detection" / "coco"
    folder.mkdir(parents=True)
    text = config.to_json()
    (folder / f"{RUN}.py").write_text(
        "import json\n"
        "from gcnet_jax.config import from_plain\n"
        "from gcnet_jax.tasks.detection.config import SCHEMA\n"
        f"def get_config():\n    return from_plain(json.loads({text!r}), SCHEMA)\n"
    )
    monkeypatch.setattr(loading, "library_folder", lambda: tmp_path / "configs")
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    return files


def test_a_published_detector_is_fetched_by_its_name_and_kept(published, config, arrays, server):
    net = load_detector(RUN)
    assert net.config == config
    assert net.source.name == "narrow.pth"
    assert_has(net.model, arrays)
    server.shutdown()
    assert load_detector(RUN).source == net.source


def test_a_file_with_the_content_of_a_published_one_needs_no_config(published, pth, config):
    assert load_detector(pth).config == config
    assert load_detector(pth, config=RUN).config == config


def test_all_published_detectors_have_an_address_that_holds_their_hash(root):
    files = loading.published_detectors()
    configs = {path.stem for path in (root / "configs" / "detection" / "coco").glob("*.py")}
    assert len(configs) == 23
    assert files.keys() == configs
    assert len({file.sha256_prefix for file in files.values()}) == 23
    for file in files.values():
        assert file.address.startswith("https://download.openmmlab.com/mmdetection/v2.0/")
        assert file.address.endswith(f"-{file.sha256_prefix}.pth")


@pytest.mark.parametrize(
    ("source", "config", "says"),
    [
        ("mask-rcnn_r50-gcb-r4_fpn_1x_coco", None, f"did you mean '{RUN}'"),
        ("nowhere/at/all.pth", None, "there is no file nowhere/at/all.pth"),
        (3, None, "the source is a int; expected the name of a published detector"),
        (".", None, "is a folder; expected a .pth file"),
        ("x.pth", "mask-rcnn_r50-gcb-r4_fpn_1x_coco", f"no config file.*did you mean '{RUN}'"),
        ("x.pth", 3, "the config is a int"),
        ("x.pth", "context_shapes/gcnet", "is of the task 'segmentation'; expected 'detection'"),
    ],
)
def test_what_cannot_be_loaded_is_explained(source, config, says):
    with pytest.raises(InputError, match=says):
        load_detector(source, config=config)
