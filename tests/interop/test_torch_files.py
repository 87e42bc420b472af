"""Reading and writing `.pth` files without PyTorch; two of them were written by it."""

import io
import os
import pickle
import resource
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gcnet_jax.data import DatasetClasses
from gcnet_jax.errors import InputError
from gcnet_jax.interop import read_torch_checkpoint, write_torch_checkpoint
from gcnet_jax.interop.torch_files import open_torch_file
from gcnet_jax.interop.torch_files.writing import torch_file

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

# Parts of pickles, instruction by instruction.
PROTOCOL = b"\x80\x02"
MACHINE = pickle.dumps({"little_endian": True}, 2)
MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + MACHINE


def number(value):
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def text(value):
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(shape, strides, *, count=4, offset=0, key="0", kind="FloatStorage"):
    """The instructions that make a tensor of a storage of `count` numbers."""
    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu")
    storage += number(count) + b"tQ"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + numbers(shape)
        + numbers(strides) + b"\x89}tR"
    )  # fmt: skip


def weights(*tensors):
    """A pickle of a bare state dict of tensors w0, w1 and so on."""
    items = b"".join(text(f"w{i}") + code for i, code in enumerate(tensors))
    return PROTOCOL + b"}(" + items + b"u."


def file_of(program, form, rows={"0": bytes(16)}, width=4):  # noqa: B006
    """A file in either format with a pickle and the bytes of its storages."""
    if form == "legacy":
        counted = ((len(row) // width).to_bytes(8, "little") + row for row in rows.values())
        return MAGIC + program + pickle.dumps(list(rows), 2) + b"".join(counted)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x/data.pkl", program)
        for key, row in rows.items():
            archive.writestr(f"x/data/{key}", row)
        archive.writestr("x/version", "3\n")
    return buffer.getvalue()


@pytest.fixture
def read(tmp_path):
    """Reads bytes as a file `x.pth`."""

    def read(content):
        (tmp_path / "x.pth").write_bytes(content)
        return read_torch_checkpoint(tmp_path / "x.pth")

    return read


@FORMATS
def test_a_file_of_a_training_run_is_read_as_it_was_written(form):
    checkpoint = read_torch_checkpoint(SAMPLES / f"{form}.pth")
    assert checkpoint.classes == CLASSES
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


@FORMATS
def test_a_file_cut_anywhere_is_named_as_such(form, read):
    content = (SAMPLES / f"{form}.pth").read_bytes()
    for length in [*range(0, len(content), 29), *range(len(content) - 9, len(content))]:
        with pytest.raises(InputError, match=r"x\.pth is not a whole PyTorch checkpoint") as caught:
            read(content[:length])
        assert "\n" not in str(caught.value)


def test_a_flipped_bit_of_a_zip_file_is_noticed_or_means_nothing(read):
    content = torch_file({"state_dict": {"a": ROW[:3], "b": ROW[3:5]}, "meta": {"CLASSES": ["x"]}})
    noticed = 0
    for i in range(0, len(content), 2):
        damaged = bytearray(content)
        damaged[i] ^= 1 << i * 5 % 8
        try:
            checkpoint = read(bytes(damaged))
        except InputError:
            noticed += 1
        else:
            assert checkpoint.classes is not None
            assert checkpoint.classes.names == ("x",)
            np.testing.assert_array_equal(checkpoint.state_dict["a"], ROW[:3])
            np.testing.assert_array_equal(checkpoint.state_dict["b"], ROW[3:5])
    assert noticed > len(content) / 4


def test_a_flipped_bit_in_what_is_not_asked_for_is_noticed(read):
    optimizer = np.full(3, 1.5, np.float32)
    content = bytearray(torch_file({"state_dict": {"a": ROW[:3]}, "optimizer": [optimizer]}))
    content[content.index(optimizer.tobytes())] ^= 1
    with pytest.raises(InputError, match=r"x\.pth .*: its record archive/data/1 is damaged"):
        read(bytes(content))


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


@FORMATS
@pytest.mark.parametrize(
    ("code", "says"),
    [
        (tensor((10**6, 10**6), (0, 0)), r"is refused: its tensors take 4000000000000 bytes"),
        (tensor((2**62, 2**62), (0, 0)), r"x\.pth is not a whole .*tensor of no shape"),
        (tensor((0, 2**62, 2**62), (1, 1, 1)), r"x\.pth is not a whole .*tensor of no shape"),
        (tensor((5,), (1,)), "reaches beyond its storage"),
        (tensor((2, 2), (2**62, 1)), "reaches beyond its storage"),
        (tensor((4,), (1,), offset=1), "reaches beyond its storage"),
        (tensor((4,), (-1,), offset=3), "tensor of no shape"),
        (tensor((4,), (1,), offset=-1), "tensor of no shape"),
        (tensor((4,), (1, 1)), "tensor of no shape"),
        (tensor((1,) * 65, (1,) * 65), "tensor of no shape"),
        (tensor((2**40,), (1,), count=2**40), "is not a whole PyTorch checkpoint"),
        (tensor((4,), (1,), count=2**62), "is not a whole PyTorch checkpoint"),
        (tensor((4,), (1,), count=-4), "is not a whole PyTorch checkpoint"),
        (tensor((4,), (1,), key="1"), "is not a whole PyTorch checkpoint"),
        (tensor((4,), (1,), kind="StrangeStorage"), "a storage of the kind torch.StrangeStorage"),
    ],
)  # fmt: skip
def test_a_tensor_of_more_than_the_file_has_is_refused_before_anything_is_allocated(
    form, code, says, read
):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=says):
        read(file_of(weights(code), form))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


@FORMATS
def test_tensors_that_together_are_far_more_than_the_file_are_refused(form, read):
    row = bytes(4 << 20)
    whole = tensor((1 << 20,), (1,), count=1 << 20)
    assert len(read(file_of(weights(*[whole] * 4), form, {"0": row})).state_dict) == 4
    with pytest.raises(InputError, match="is refused: its tensors take 41943040 bytes"):
        read(file_of(weights(*[whole] * 10), form, {"0": row}))


DEEP = 100_000
NEST = b"]q\x00" + b"(h\x00h\x00tq\x00" * 64  # a tuple of two of a tuple of two ...
BOMBS = {
    "lists in lists": b"]" * DEEP + b"a" * (DEEP - 1),
    "tuples in tuples": b")" + b"\x85" * DEEP,
    "dicts in dicts": b"}" + (text("k") + b"}") * DEEP + b"s" * DEEP,
    "objects in objects": b"cdatetime\ndate\nq\x00" + b"h\x00" * DEEP + b")R" + b"\x85R" * DEEP,
    "a tuple in itself, as a key": b"}" + b")" + b"\x85" * DEEP + b"Ns",
    "a tuple of all pairs, as a key": b"}" + NEST + b"Ns",
    "a far place in the memo": b"Nr\xff\xff\xff\x7f",
    "a long string": b"X\xff\xff\xff\x7fabc",
    "longer bytes": b"\x8e" + b"\xff" * 7 + b"\x00abc",
    "a long number": b"\x8b\xff\xff\xff\x7fabc",
    "digits": b"I" + b"9" * 100_000 + b"\n",
    "a list in itself": b"]q\x00h\x00a",
    "text encoded again and again": text("é" * 1_000_000) + b"q\x00" + text("latin1") + b"q\x010"
    + b"]" + b"c_codecs\nencode\nq\x02(h\x00h\x01tRa" + b"h\x02h\x00h\x01\x86Ra" * 100_000,
    "names made again and again": text("m" * 1_000_000) + b"q\x00" + b"h\x00h\x00\x93" * 100_000,
}  # fmt: skip


@FORMATS
@pytest.mark.parametrize("name", BOMBS)
def test_a_pickle_made_to_fill_time_or_memory_ends_in_one_line(form, name, read):
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(InputError, match=r"x\.pth") as caught:
        read(file_of(PROTOCOL + BOMBS[name] + b".", form, {}))
    assert len(str(caught.value)) < 500
    assert time.process_time() - start < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # KiB


def test_a_pickle_of_more_instructions_than_any_file_has_says_so(read):
    program = PROTOCOL + b"]" * 1_000_001 + b"."
    with pytest.raises(InputError, match=r"x\.pth is refused: its pickle has more than 1000000 in"):
        read(file_of(program, "zip"))


@FORMATS
@pytest.mark.parametrize("name", ["lists in lists", "a tuple in itself, as a key"])
def test_what_lies_beside_the_weights_may_be_nested_and_is_not_looked_into(form, name, read):
    inside = text("meta") + BOMBS[name] + text("state_dict") + b"}" + text("w")
    program = PROTOCOL + b"}(" + inside + tensor((4,), (1,)) + b"su."
    assert list(read(file_of(program, form)).state_dict) == ["w"]


def hostile_programs(trace):
    """Pickles that make a folder `trace` when Python's own unpickler has them, by several ways."""
    argument = text(str(trace))
    make = b"cposix\nmkdir\n"
    return {
        "called": make + argument + b"\x85R",
        "as an instance": b"(" + argument + b"iposix\nmkdir\n",
        "as an object": b"(" + make + argument + b"o",
        "named on the stack": text("posix") + text("mkdir") + b"\x93" + argument + b"\x85R",
        "by a part of a name": text("os") + text("path.os.mkdir") + b"\x93" + argument + b"\x85R",
        "by eval": b"cbuiltins\neval\n"
        + text(f"__import__('os').mkdir({str(trace)!r})") + b"\x85R",
        "by partial": b"cfunctools\npartial\n" + make + argument + b"\x86R)R",
        "by getattr": b"cbuiltins\ngetattr\ncposix\n__loader__\n" + text("x") + b"\x86R",
        "by getattr of what is known": b"cbuiltins\ngetattr\nccollections\nOrderedDict\n"
        + text("__init__") + b"\x86Rq\x00" + text("__globals__") + b"\x86R" + argument + b"\x85R",
        "by a known function's own globals": b"cbuiltins\ngetattr\nctorch._utils\n"
        b"_rebuild_tensor_v2\n" + text("__globals__") + b"\x86R" + argument + b"\x85R",
        "through a known module": text("torch._utils") + text("_rebuild_parameter.__globals__")
        + b"\x93",
        "in a state": b"cmmengine.x\nY\n)\x81}" + text("__setstate__") + make + b"sb" + argument
        + b"b",
        "as a state of a class": b"ccollections\nOrderedDict\nN}" + text("__init__") + make
        + b"s\x86b)R",
        "as a storage": argument + b"Q",
        "as an object of NumPy": b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n"
        + text("O8") + b"\x85R" + text("x") + b"tR" + make + argument + b"\x85R",
        "by a codec": b"c_codecs\nencode\n" + argument + text("punycode") + b"\x86R" + b")R",
        "by an extension": b"\x82\x01",
    }  # fmt: skip


@FORMATS
@pytest.mark.parametrize("way", hostile_programs(""))
def test_a_hostile_file_runs_nothing(form, way, read, tmp_path):
    trace = tmp_path / "executed"
    modules = set(sys.modules)
    code = hostile_programs(trace)[way]
    programs = [
        PROTOCOL + code + b".",
        PROTOCOL + b"}(" + text("state_dict") + code + b"u.",
        PROTOCOL + b"}(" + text("state_dict") + b"}(" + text("a") + code + b"uu.",
    ]
    for program in programs:
        with pytest.raises(InputError, match=r"x\.pth") as caught:
            read(file_of(program, form, {}))
        assert "\n" not in str(caught.value)
    assert not trace.exists()
    assert set(sys.modules) - modules == set()


@pytest.mark.parametrize(
    "way", ["called", "as an instance", "as an object", "by eval", "by partial"]
)
def test_the_traps_of_these_tests_do_spring(way, tmp_path):
    pickle.loads(PROTOCOL + hostile_programs(tmp_path / "executed")[way] + b".")
    assert (tmp_path / "executed").exists()


def test_a_refusal_says_what_would_have_been_called(read):
    program = PROTOCOL + hostile_programs("executed")["called"] + b"."
    with pytest.raises(InputError, match=r"x\.pth is refused: loading it would call posix\.mkdir;"):
        read(file_of(program, "zip"))


def test_a_compressed_record_is_refused_before_it_is_unpacked(read):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", weights(tensor((4,), (1,), count=1 << 24)))
        archive.writestr("x/data/0", bytes(1 << 26))
    with pytest.raises(InputError, match=r"x\.pth .*: its record x/data\.pkl is compressed"):
        read(buffer.getvalue())


@pytest.mark.parametrize(
    "rows",
    [{"0": bytes(12)}, {"0": bytes(20)}, {}, {"0": bytes(16), "1": bytes(4)}, {0: bytes(16)}],
    ids=["too short", "too long", "none", "one too many", "no key"],
)
def test_storages_of_the_older_format_that_are_not_those_of_its_tensors_are_refused(rows, read):
    with pytest.raises(InputError, match=r"x\.pth is not a whole .*: it (has|lacks) a storage"):
        read(file_of(weights(tensor((2,), (1,))), "legacy", rows))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_records_of_one_name_are_refused(read):
    buffer = io.BytesIO(file_of(weights(tensor((4,), (1,))), "zip"))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("x/data/0", bytes(16))
    with pytest.raises(InputError, match="two records of one name"):
        read(buffer.getvalue())


def test_strings_of_python_2_are_read_as_text(read):
    def short(value):
        return b"U" + bytes([len(value)]) + value

    state_dict = text("state_dict") + b"}" + short(b"w") + tensor((4,), (1,)) + b"s"
    meta = text("meta") + b"}" + short(b"CLASSES") + b"(" + short("Straße".encode()) + b"ts"
    checkpoint = read(file_of(PROTOCOL + b"}(" + state_dict + meta + b"u.", "legacy"))
    assert list(checkpoint.state_dict) == ["w"]
    assert checkpoint.classes is not None
    assert checkpoint.classes.names == ("Straße",)


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
    write_torch_checkpoint(tmp_path / "x.pth", arrays, CLASSES)
    read = read_torch_checkpoint(tmp_path / "x.pth")
    assert read.classes == CLASSES
    for name, array in arrays.items():
        np.testing.assert_array_equal(read.state_dict[name], array)
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]


def test_a_folder_is_not_replaced_by_a_file(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        write_torch_checkpoint(tmp_path, {"a": ROW}, CLASSES)
    assert not list(tmp_path.parent.glob(".*.partial"))


@pytest.mark.parametrize(
    "palette", [[[1, 2]] * 2, ["red"] * 2, [["a"] * 3] * 2, [[300, -4, 7]] * 2, [[1, 2, 3]], 7]
)
def test_colours_that_are_none_are_replaced(palette, read):
    meta = {"dataset_meta": {"classes": ["a", "b"], "palette": palette}}
    classes = read(torch_file({"state_dict": {"a": ROW}, "meta": meta})).classes
    assert classes is not None
    assert classes.names == ("a", "b")
    assert len(set(classes.palette)) == 2


def test_class_names_that_a_terminal_would_obey_are_refused(read):
    content = {"state_dict": {"a": ROW}, "meta": {"CLASSES": ["sky", "\x1b[2Jroad"]}}
    with pytest.raises(InputError, match=r"x\.pth: class name '\\x1b\[2Jroad' holds characters"):
        read(torch_file(content))


@pytest.mark.parametrize("names", [[], "road", [1, 2], {"a": 1}, ["a" * 600_000] * 2])
def test_class_names_that_are_none_are_passed_over(names, read):
    content = {"state_dict": {"a": ROW}, "meta": {"CLASSES": names}}
    assert read(torch_file(content)).classes is None
