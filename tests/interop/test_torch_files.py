"""Reading and writing `.pth` files without PyTorch; two of them were written by it."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gcnet_jax.errors import InputError
from gcnet_jax.interop import read_torch_checkpoint, write_torch_checkpoint
from gcnet_jax.interop.torch_files import open_torch_file
from gcnet_jax.interop.torch_files.writing import torch_file
from gcnet_jax.tasks.segmentation.data import DatasetClasses
from gcnet_jax.tasks.segmentation.foreign_classes import classes_from_meta, classes_to_meta
from tests.hand_made_pth import MACHINE, PROTOCOL, file_of, number, tensor, text, weights

SAMPLES = Path(__file__).parent / "written_by_torch"
FORMATS = pytest.mark.parametrize("form", ["zip", "legacy"])
ROW = np.arange(24, dtype=np.float32)
EXPECTED = {  # what written_by_torch/write.py puts in
    "norm.weight": np.ones(2),
    "norm.bias": np.zeros(2),
    "norm.running_mean": np.zeros(2),
    "norm.running_var": np.ones(2),
    "norm.num_batches_tracked": np.array(0),
    "whole": ROW.reshape(2, 3, 2, 2),
    "transposed": ROW.reshape(4, 6).T,
    "part": ROW[5:17:3],
    "channels_last": ROW.reshape(1, 2, 3, 4),
    "repeated": np.array([[1.5, -2.5]] * 3),
    "parameter": np.array([0.25]),
    "half": np.array([1, -2, 0.5]),
    "bfloat16": np.array([1, -2, 0.5]),
    "double": np.array([1, -2, 0.5]),
    "int64": np.array([1, -(2.0**40)]),
    "uint16": np.array([1, 65535]),
    "bool": np.array([1, 0]),
    "number": np.array(7),
    "empty": np.zeros((0, 3)),
}
CLASSES = DatasetClasses(("road", "bed"), ((1, 2, 3), (4, 5, 6)))


@FORMATS
def test_a_file_of_a_training_run_is_read_as_it_was_written(form):
    checkpoint = read_torch_checkpoint(SAMPLES / f"{form}.pth")
    assert classes_from_meta(checkpoint.meta) == CLASSES
    assert list(checkpoint.state_dict) == list(EXPECTED)
    for name, array in checkpoint.state_dict.items():
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(array, EXPECTED[name].astype(np.float32), err_msg=name)


@FORMATS
def test_arrays_can_be_had_in_the_types_of_the_file(form):
    with open_torch_file(SAMPLES / f"{form}.pth") as file:
        arrays = file.arrays(file.content["state_dict"])
        momentum = file.content["optimizer"]["state"][0]
        np.testing.assert_array_equal(file.arrays(momentum)["momentum_buffer"], np.ones(2))
    names = ["half", "bfloat16", "double", "int64", "uint16", "bool", "whole"]
    types = [arrays[name].dtype.name for name in names]
    assert types == ["float16", "bfloat16", "float64", "int64", "uint16", "bool", "float32"]


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.complex64, np.bool_])
def test_a_file_of_a_machine_of_the_other_byte_order_is_read(dtype, tmp_path):
    kind = {
        "f": "FloatStorage",
        "i": "ShortStorage",
        "c": "ComplexFloatStorage",
        "b": "BoolStorage",
    }
    values = np.array([1, 0, 3, 4]).astype(dtype)
    row = values.astype(values.dtype.newbyteorder(">")).tobytes()
    program = weights(tensor((2, 2), (1, 2), kind=kind[values.dtype.kind]))
    buffer = io.BytesIO(file_of(program, "zip", {"0": row}))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("x/byteorder", "big")
    (tmp_path / "x.pth").write_bytes(buffer.getvalue())
    with open_torch_file(tmp_path / "x.pth") as file:
        array = file.arrays(file.content)["w0"]
    assert array.dtype == dtype
    assert array.dtype.isnative
    np.testing.assert_array_equal(array, values.reshape(2, 2).T)


@FORMATS
def test_untyped_numbers_are_in_the_order_of_the_machine_that_wrote(form, tmp_path):
    code = tensor((2,), (1,), kind="UntypedStorage", count=4).replace(b"_v2", b"_v3")
    code = code.removesuffix(b"tR") + b"ctorch\nuint16\ntR"
    content = file_of(weights(code), form, {"0": b"\x01\x02\x03\x04"}, width=1)
    if form == "zip":
        buffer = io.BytesIO(content)
        with zipfile.ZipFile(buffer, "a") as archive:
            archive.writestr("x/byteorder", "big")
        content = buffer.getvalue()
    else:
        content = content.replace(MACHINE, pickle.dumps({"little_endian": False}, 2))
    (tmp_path / "x.pth").write_bytes(content)
    with open_torch_file(tmp_path / "x.pth") as file:
        array = file.arrays(file.content)["w0"]
    assert array.dtype == np.uint16
    np.testing.assert_array_equal(array, [0x0102, 0x0304])


@FORMATS
def test_hand_made_files_of_these_tests_are_read(form, read):
    row = ROW[:4].tobytes()
    state_dict = read(file_of(weights(tensor((2,), (2,), offset=1)), form, {"0": row})).state_dict
    np.testing.assert_array_equal(state_dict["w0"], [1, 3])


def test_strings_of_python_2_are_read_as_text(read):
    def short(value):
        return b"U" + bytes([len(value)]) + value

    state_dict = text("state_dict") + b"}" + short(b"w") + tensor((4,), (1,)) + b"s"
    meta = text("meta") + b"}" + short(b"CLASSES") + b"(" + short("Straße".encode()) + b"ts"
    checkpoint = read(file_of(PROTOCOL + b"}(" + state_dict + meta + b"u.", "legacy"))
    assert list(checkpoint.state_dict) == ["w"]
    classes = classes_from_meta(checkpoint.meta)
    assert classes is not None
    assert classes.names == ("Straße",)


def test_an_ordered_dict_of_python_2_is_read(read):
    pair = b"]" + text("w") + b"a" + tensor((4,), (1,)) + b"a"
    program = PROTOCOL + b"ccollections\nOrderedDict\n]" + pair + b"a\x85R."
    assert list(read(file_of(program, "legacy")).state_dict) == ["w"]


@FORMATS
def test_a_part_of_a_storage_is_read_where_it_begins(form, read):
    code = tensor((2,), (1,)).replace(
        number(4) + b"tQ", number(4) + b"(" + text("part") + number(1) + number(3) + b"ttQ"
    )
    checkpoint = read(file_of(weights(code), form, {"0": ROW[:4].tobytes()}))
    np.testing.assert_array_equal(checkpoint.state_dict["w0"], [1, 2])


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n no checkpoint", b"", b"PK\x03\x04", b"PK"])
def test_a_file_that_is_no_checkpoint_is_named_as_such(content, read):
    with pytest.raises(InputError, match=r"x\.pth is not a whole PyTorch checkpoint"):
        read(content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([1, 2], "holds a list; expected a state dict"),
        ({"state_dict": {}}, "has no state dict"),
        ({"state_dict": {"a": 1, "b": "x"}}, "not one dense real tensor each: a, b"),
        ({"state_dict": {str(i): i for i in range(25)}}, r"each: 0, 1, .*, 19 and 5 more$"),
        ({"3": np.ones(2, np.complex64)}, "not one dense real tensor each: 3"),
        ({"module.3": np.ones(2), "3": np.ones(2)}, "not one dense real tensor each: 3"),
    ],
)
def test_a_file_without_a_state_dict_is_named_with_what_it_holds(content, says, read):
    with pytest.raises(InputError, match=says):
        read(torch_file(content))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"there is no file .*x\.pth"):
        read_torch_checkpoint(tmp_path / "x.pth")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.pth")
    with pytest.raises(InputError, match=r"x\.pth is no regular file"):
        read_torch_checkpoint(tmp_path / "x.pth")


def test_what_is_written_is_read_back_bitwise_with_its_classes(tmp_path):
    arrays = {"conv.weight": ROW.reshape(2, 3, 2, 2), "bn.num_batches_tracked": np.array(7)}
    write_torch_checkpoint(tmp_path / "x.pth", arrays, classes_to_meta(CLASSES))
    read = read_torch_checkpoint(tmp_path / "x.pth")
    assert classes_from_meta(read.meta) == CLASSES
    for name, array in arrays.items():
        np.testing.assert_array_equal(read.state_dict[name], array)
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        write_torch_checkpoint(tmp_path, {"a": ROW}, {})
    assert not list(tmp_path.parent.glob(".*.partial"))


@pytest.mark.parametrize(
    "palette", [[[1, 2]] * 2, ["red"] * 2, [["a"] * 3] * 2, [[300, -4, 7]] * 2, [[1, 2, 3]], 7]
)
def test_colours_that_are_none_are_replaced(palette, read):
    meta = {"dataset_meta": {"classes": ["a", "b"], "palette": palette}}
    classes = classes_from_meta(read(torch_file({"state_dict": {"a": ROW}, "meta": meta})).meta)
    assert classes is not None
    assert classes.names == ("a", "b")
    assert len(set(classes.palette)) == 2


def test_class_names_that_a_terminal_would_obey_are_refused(read):
    content = {"state_dict": {"a": ROW}, "meta": {"CLASSES": ["sky", "\x1b[2Jroad"]}}
    with pytest.raises(InputError, match=r"class name '\\x1b\[2Jroad' holds characters"):
        classes_from_meta(read(torch_file(content)).meta)


@pytest.mark.parametrize("names", [[], "road", [1, 2], {"a": 1}, ["a" * 600_000] * 2])
def test_class_names_that_are_none_are_passed_over(names, read):
    content = {"state_dict": {"a": ROW}, "meta": {"CLASSES": names}}
    assert classes_from_meta(read(torch_file(content)).meta) is None
