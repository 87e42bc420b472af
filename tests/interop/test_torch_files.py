"""Reading and writing `.pth` files; everything here needs PyTorch."""

import collections
import os
import pickle
import re
import zipfile

import numpy as np
import pytest

from gcnet_jax.data import DatasetClasses, generic_palette
from gcnet_jax.errors import InputError
from gcnet_jax.interop import read_torch_checkpoint, write_torch_checkpoint

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
ARRAYS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "bn.num_batches_tracked": np.array(7),
}


def tensors(prefix=""):
    return collections.OrderedDict(
        (prefix + name, torch.from_numpy(array.copy())) for name, array in ARRAYS.items()
    )


def save(content, path, zipped):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)


@FORMATS
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapped", [True, False])
def test_both_formats_are_read_with_and_without_wrapping_and_prefix(
    tmp_path, zipped, prefix, wrapped
):
    state_dict = tensors(prefix)
    content = {"state_dict": state_dict, "meta": {"epoch": 3}} if wrapped else state_dict
    save(content, tmp_path / "x.pth", zipped)
    read = read_torch_checkpoint(tmp_path / "x.pth")
    assert read.classes is None
    assert read.state_dict.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read.state_dict[name], array)


@FORMATS
@pytest.mark.parametrize(
    "meta",
    [
        {"CLASSES": ("road", "bed "), "PALETTE": [[1, 2, 3], [4, 5, 6]]},
        {"dataset_meta": {"classes": ["road", "bed"], "palette": [[1, 2, 3], [4, 5, 6]]}},
        {"dataset_meta": {"CLASSES": ["road", "bed"], "PALETTE": [(1, 2, 3), (4, 5, 6)]}},
    ],
)
def test_class_names_and_colours_are_found_where_each_version_puts_them(tmp_path, zipped, meta):
    save({"state_dict": tensors(), "meta": meta}, tmp_path / "x.pth", zipped)
    classes = read_torch_checkpoint(tmp_path / "x.pth").classes
    assert classes == DatasetClasses(("road", "bed"), ((1, 2, 3), (4, 5, 6)))


def test_classes_without_colours_get_some(tmp_path):
    content = {"state_dict": tensors(), "meta": {"CLASSES": ["a", "b", "c"], "PALETTE": None}}
    torch.save(content, tmp_path / "x.pth")
    classes = read_torch_checkpoint(tmp_path / "x.pth").classes
    assert classes is not None
    assert classes.names == ("a", "b", "c")
    assert len(set(classes.palette)) == 3


class HistoryBuffer:
    """As MMEngine's, whose training checkpoints hold such logs beside the weights."""

    def __init__(self):
        self._log_history = np.arange(3.0)
        self._max_length = np.int64(1000)
        self._statistics_methods = {"min": HistoryBuffer.min}

    def min(self):
        return self._log_history.min()


HistoryBuffer.__module__ = "mmengine.logging.history_buffer"


def test_a_training_checkpoint_of_mmengine_is_read_without_mmengine(tmp_path, monkeypatch):
    import sys
    import types

    module = types.ModuleType(HistoryBuffer.__module__)
    module.HistoryBuffer = HistoryBuffer
    content = {
        "state_dict": tensors(),
        "meta": {"dataset_meta": {"classes": ["a"], "palette": [[1, 2, 3]]}},
        "message_hub": {"log_scalars": {"loss": HistoryBuffer()}, "runtime": {"x": np.float64(2)}},
    }
    with monkeypatch.context() as patch:
        for name in ("mmengine", "mmengine.logging"):
            patch.setitem(sys.modules, name, types.ModuleType(name))
        patch.setitem(sys.modules, module.__name__, module)
        torch.save(content, tmp_path / "iter_40000.pth")
    assert read_torch_checkpoint(tmp_path / "iter_40000.pth").state_dict.keys() == ARRAYS.keys()


class Hostile:
    """Unpickled without care it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@FORMATS
@pytest.mark.parametrize("place", ["beside", "among the weights", "alone"])
def test_a_file_that_would_run_code_is_refused_and_runs_nothing(tmp_path, zipped, place):
    trace = tmp_path / "executed"
    content = {
        "beside": {"state_dict": tensors(), "meta": {"hook": Hostile(trace)}},
        "among the weights": {"state_dict": {**tensors(), "x": Hostile(trace)}},
        "alone": Hostile(trace),
    }[place]
    path = tmp_path / "x.pth"
    save(content, path, zipped)
    with pytest.raises(InputError, match=r"x\.pth is refused: loading it would call \S*open"):
        read_torch_checkpoint(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)  # the trap works: without care it does spring
    assert trace.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_plain_pickle_that_would_run_code_runs_nothing(tmp_path, protocol):
    trace, path = tmp_path / "executed", tmp_path / "x.pth"
    path.write_bytes(pickle.dumps({"state_dict": Hostile(trace)}, protocol=protocol))
    with pytest.raises(InputError, match=r"x\.pth"):
        read_torch_checkpoint(path)
    assert not trace.exists()


@FORMATS
def test_a_file_truncated_anywhere_is_named_as_such(tmp_path, zipped):
    whole = tmp_path / "whole.pth"
    save({"state_dict": tensors(), "meta": {"CLASSES": ["a", "b"]}}, whole, zipped)
    content, path = whole.read_bytes(), tmp_path / "x.pth"
    for length in range(0, len(content), max(len(content) // 60, 1)):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"x\.pth is not a whole PyTorch checkpoint"):
            read_torch_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x89PNG\r\n\x1a\n no checkpoint at all", "is not a whole PyTorch checkpoint"),
        (b"", "is not a whole PyTorch checkpoint"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_named_as_such(tmp_path, content, says):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_torch_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([1, 2], "holds a list; expected a state dict"),
        ({"state_dict": {}}, "has no state dict"),
        ({"state_dict": {"a": 1, "b": "x"}}, "not one dense real tensor each: a, b"),
    ],
)
def test_a_file_without_a_state_dict_is_named_with_what_it_holds(tmp_path, content, says):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(InputError, match=says):
        read_torch_checkpoint(tmp_path / "x.pth")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"there is no file .*x\.pth"):
        read_torch_checkpoint(tmp_path / "x.pth")


def test_a_file_that_unpacks_to_far_more_than_itself_is_refused(tmp_path):
    torch.save({"w": torch.zeros(1 << 20)}, tmp_path / "x.pth")
    with (
        zipfile.ZipFile(tmp_path / "x.pth") as whole,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for member in whole.infolist():
            packed.writestr(member.filename, whole.read(member))
    with pytest.raises(InputError, match=r"packed\.pth is refused: it holds more than 20 times"):
        read_torch_checkpoint(tmp_path / "packed.pth")


@pytest.mark.parametrize("version", ["2.5.1+cu124", "1.13.1", "unknown"])
def test_a_pytorch_that_runs_the_code_of_files_is_refused(tmp_path, monkeypatch, version):
    torch.save({"w": torch.zeros(1)}, tmp_path / "x.pth")
    monkeypatch.setattr(torch, "__version__", version)
    with pytest.raises(InputError, match=rf"PyTorch 2\.6 or later, found {re.escape(version)}"):
        read_torch_checkpoint(tmp_path / "x.pth")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"x\.pth is no regular file"):
        read_torch_checkpoint(tmp_path / "x.pth")


def test_what_is_written_is_read_back_bitwise_with_its_classes(tmp_path):
    classes = DatasetClasses(("a", "b"), ((1, 2, 3), (4, 5, 6)))
    write_torch_checkpoint(tmp_path / "x.pth", ARRAYS, classes)
    read = read_torch_checkpoint(tmp_path / "x.pth")
    assert read.classes == classes
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(read.state_dict[name], array)
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]


def test_half_precision_weights_are_read_as_float32(tmp_path):
    torch.save({"w": torch.ones(3, dtype=torch.bfloat16)}, tmp_path / "x.pth")
    assert read_torch_checkpoint(tmp_path / "x.pth").state_dict["w"].dtype == np.float32


@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_a_palette_saved_as_a_numpy_array_is_kept(tmp_path, dtype):
    palette = np.array([[1, 2, 3], [200, 5, 6]], dtype)
    meta = {"CLASSES": ("a", "b"), "PALETTE": palette}
    torch.save({"state_dict": tensors(), "meta": meta}, tmp_path / "x.pth")
    classes = read_torch_checkpoint(tmp_path / "x.pth").classes
    assert classes == DatasetClasses(("a", "b"), ((1, 2, 3), (200, 5, 6)))


@pytest.mark.parametrize(
    "palette", [[[1, 2]] * 2, ["red"] * 2, [[None] * 3] * 2, [[300, -4, 7]] * 2, [[1, 2, 3]], 7]
)
def test_colours_that_are_none_are_replaced(tmp_path, palette):
    meta = {"dataset_meta": {"classes": ["a", "b"], "palette": palette}}
    torch.save({"state_dict": tensors(), "meta": meta}, tmp_path / "x.pth")
    classes = read_torch_checkpoint(tmp_path / "x.pth").classes
    assert classes == DatasetClasses(("a", "b"), generic_palette(2))


def test_class_names_that_a_terminal_would_obey_are_refused(tmp_path):
    content = {"state_dict": tensors(), "meta": {"CLASSES": ["sky", "\x1b[2Jroad"]}}
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"x\.pth: class name '\\x1b\[2Jroad' holds characters"):
        read_torch_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("names", [[], "road", [1, 2], {"a": 1}])
def test_class_names_that_are_none_are_passed_over(tmp_path, names):
    torch.save({"state_dict": tensors(), "meta": {"CLASSES": names}}, tmp_path / "x.pth")
    assert read_torch_checkpoint(tmp_path / "x.pth").classes is None


@pytest.mark.parametrize(
    "entries",
    [
        {3: torch.ones(2)},
        {"3": torch.ones(2, dtype=torch.complex64)},
        {"3": torch.eye(3).to_sparse()},
        {"3": torch.ones(2), "module.3": torch.zeros(2)},
        {"3": torch.ones(2, device="meta")},
        {"3": torch.ones(1, dtype=torch.float16).expand(1 << 40)},
    ],
    ids=["no name", "complex", "sparse", "twice", "without values", "endless"],
)
def test_entries_that_cannot_be_weights_are_named(tmp_path, entries):
    torch.save({"state_dict": {**tensors(), **entries}}, tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"not one dense real tensor each: (module\.)?3"):
        read_torch_checkpoint(tmp_path / "x.pth")


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        write_torch_checkpoint(tmp_path, ARRAYS, DatasetClasses(("a",), ((1, 2, 3),)))
    assert not list(tmp_path.parent.glob(".*.partial"))
