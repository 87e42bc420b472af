"""`.pth` files that are cut, damaged, or made to run code, or to fill time or memory."""

import io
import pickle
import resource
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gcnet_jax.errors import InputError
from gcnet_jax.interop.torch_files.writing import torch_file
from gcnet_jax.tasks.segmentation.foreign_classes import classes_from_meta
from tests.hand_made_pth import PROTOCOL, file_of, tensor, text, weights

SAMPLES = Path(__file__).parent / "written_by_torch"
FORMATS = pytest.mark.parametrize("form", ["zip", "legacy"])
ROW = np.arange(24, dtype=np.float32)


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
            classes = classes_from_meta(checkpoint.meta)
            assert classes is not None
            assert classes.names == ("x",)
            np.testing.assert_array_equal(checkpoint.state_dict["a"], ROW[:3])
            np.testing.assert_array_equal(checkpoint.state_dict["b"], ROW[3:5])
    assert noticed > len(content) / 4


def test_a_flipped_bit_in_what_is_not_asked_for_is_noticed(read):
    optimizer = np.full(3, 1.5, np.float32)
    content = bytearray(torch_file({"state_dict": {"a": ROW[:3]}, "optimizer": [optimizer]}))
    content[content.index(optimizer.tobytes())] ^= 1
    with pytest.raises(InputError, match=r"x\.pth .*: its record archive/data/1 is damaged"):
        read(bytes(content))


@FORMATS
@pytest.mark.parametrize(
    ("code", "says"),
    [
        (tensor((10**6, 10**6), (0, 0)), r"refused: its tensors take 4000000000000 .* is w0;"),
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
NEST = b")q\x00" + b"(h\x00h\x00tq\x00" * 64  # a tuple of two of a tuple of two ...
BOMBS = {
    "lists in lists": b"]" * DEEP + b"a" * (DEEP - 1),
    "tuples in tuples": b")" + b"\x85" * DEEP,
    "dicts in dicts": b"}" + (text("k") + b"}") * DEEP + b"s" * DEEP,
    "objects in objects": b"cdatetime\ndate\nq\x00" + b"h\x00" * DEEP + b")R" + b"\x85R" * DEEP,
    "a tuple in itself, as a key": b"}" + b")" + b"\x85" * DEEP + b"Ns",
    "a tuple of all pairs, as a key": NEST + b"}h\x00Ns",
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
