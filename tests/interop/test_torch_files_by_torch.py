"""PyTorch as the judge of what is read from its `.pth` files, and of those that are written."""

import collections
import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.errors import InputError
from gcnet_jax.interop import read_torch_checkpoint, write_torch_checkpoint
from gcnet_jax.interop.torch_files import open_torch_file
from gcnet_jax.interop.torch_files.tensors import STORAGES, Tensor
from gcnet_jax.interop.torch_files.writing import torch_file
from gcnet_jax.tasks.segmentation.data import DatasetClasses
from gcnet_jax.tasks.segmentation.foreign_classes import classes_from_meta, classes_to_meta

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
ARRAYS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "bn.num_batches_tracked": np.array(7),
}
DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex128, torch.complex64,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16,
    torch.uint8, torch.bool, torch.float8_e4m3fn, torch.float8_e5m2,
]  # fmt: skip

# Of these PyTorch has untyped storages, whose bytes it leaves in the other machine's order.
UNTYPED = [torch.uint64, torch.uint32, torch.uint16]


def tensors(prefix=""):
    return collections.OrderedDict(
        (prefix + name, torch.from_numpy(array.copy())) for name, array in ARRAYS.items()
    )


def save(content, path, zipped):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)


def bits(tensor):
    """The shape, the type and the bytes of a tensor or an array."""
    if isinstance(tensor, np.ndarray):
        assert tensor.flags.c_contiguous
        return tensor.shape, tensor.dtype.name, tensor.tobytes()
    numbers = b""
    if tensor.numel():
        row = tensor.detach().clone(memory_format=torch.contiguous_format).reshape(-1)
        numbers = row.view(torch.uint8).numpy().tobytes()
    return tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), numbers


def leaves(content, kind, place=()):
    """The tensors in dicts, lists and tuples by their place."""
    if isinstance(content, kind):
        return {place: content}
    items = content.items() if isinstance(content, dict) else enumerate(content)
    found = {}
    for key, value in items:
        if isinstance(value, kind | dict | list | tuple):
            found |= leaves(value, kind, (*place, key))
    return found


def assert_read_as_by_torch(path, content):
    with open_torch_file(path) as file:
        found = leaves(file.content, Tensor)
        arrays = file.arrays({str(place): tensor for place, tensor in found.items()})
    expected = {str(place): tensor for place, tensor in leaves(content, torch.Tensor).items()}
    assert {name: bits(x) for name, x in arrays.items()} == {
        name: bits(x) for name, x in expected.items()
    }


@st.composite
def views(draw, base):
    """A view of a tensor: parts, steps, single rows, other orders of axes, repeated axes."""
    tensor = base
    for _ in range(draw(st.integers(0, 3))):
        axes = tensor.dim()
        way = draw(st.sampled_from(["part", "order", "row", "new axis", "repeat"]))
        axis = draw(st.integers(0, axes - 1)) if axes else None
        if way == "order":
            tensor = tensor.permute(draw(st.permutations(range(axes))))
        elif way == "new axis":
            tensor = tensor.unsqueeze(draw(st.integers(0, axes)))
        elif way == "repeat":
            tensor = tensor.unsqueeze(0)
            tensor = tensor.expand(draw(st.integers(0, 3)), *tensor.shape[1:])
        elif axis is not None and way == "part":
            first = draw(st.integers(0, tensor.shape[axis]))
            step = draw(st.integers(1, 3))
            tensor = tensor[(slice(None),) * axis + (slice(first, None, step),)]
        elif axis is not None and tensor.shape[axis]:
            tensor = tensor.select(axis, draw(st.integers(0, tensor.shape[axis] - 1)))
    return tensor


@st.composite
def contents(draw, dtypes=DTYPES):
    """Nested dicts and lists of views, of which some share a storage, and of parameters."""
    content = {"plain": [1, 2.5, None, "x", (True, -(2**40))]}
    for i in range(draw(st.integers(1, 3))):
        dtype = draw(st.sampled_from(dtypes))
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        width = torch.empty(0, dtype=dtype).element_size()
        count = int(np.prod(shape))
        data = np.random.default_rng(draw(st.integers(0, 99))).bytes(max(count, 1) * width)
        row = torch.frombuffer(bytearray(data), dtype=torch.uint8).clone()
        row = (row > 127) if dtype == torch.bool else row.view(dtype)
        base = row[:count].reshape(shape)
        content[f"group {i}"] = {
            "views": [draw(views(base)) for _ in range(draw(st.integers(1, 3)))],
            "nested": {"deeper": {3: base, "same": base}},
        }
        if dtype.is_floating_point and dtype.itemsize > 1:
            content[f"group {i}"]["parameter"] = torch.nn.Parameter(draw(views(base)))
    return content


@FORMATS
@settings(deadline=None, max_examples=60)
@given(content=contents())
def test_whatever_torch_writes_is_read_bit_for_bit(zipped, content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / f"{zipped}.pth"
    save(content, path, zipped)
    assert_read_as_by_torch(path, content)


@FORMATS
def test_tensors_with_attributes_and_old_ways_to_rebuild_are_read(zipped, tmp_path):
    marked = torch.arange(6.0).reshape(2, 3).T
    marked.origin = "elsewhere"
    parameter = torch.nn.Parameter(torch.arange(3.0))
    parameter.origin = "elsewhere"
    content = {"marked": marked, "parameter": parameter, "buffer": torch.nn.Buffer(torch.ones(2))}
    save(content, tmp_path / "x.pth", zipped)
    assert_read_as_by_torch(tmp_path / "x.pth", content)


@settings(deadline=None, max_examples=20)
@given(content=contents([x for x in DTYPES if x not in UNTYPED]))
def test_a_file_of_the_other_byte_order_is_read_as_torch_reads_it(content, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    torch.save(content, folder / "little.pth")
    with (
        zipfile.ZipFile(folder / "little.pth") as little,
        zipfile.ZipFile(folder / "big.pth", "w") as big,
    ):
        for name in little.namelist():
            data = little.read(name)
            big.writestr(name, b"big" if name.endswith("/byteorder") else data)
    assert_read_as_by_torch(folder / "big.pth", torch.load(folder / "big.pth", weights_only=True))


def test_the_older_format_is_little_endian_whatever_machine_it_names(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("sys.byteorder", "big")
        save(tensors(), tmp_path / "x.pth", zipped=False)
    assert_read_as_by_torch(tmp_path / "x.pth", torch.load(tmp_path / "x.pth", weights_only=True))


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_whatever_is_written_is_loaded_by_torch_with_weights_only(data):
    arrays = {}
    for i in range(data.draw(st.integers(1, 4))):
        dtype = data.draw(st.sampled_from(sorted(set(STORAGES.values()), key=str)))
        shape = data.draw(st.lists(st.integers(0, 4), max_size=3))
        array = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype)
        axes = data.draw(st.permutations(range(array.ndim)))
        arrays[f"entry {i}"] = np.transpose(array, axes)
    meta = {"names": ["é", ""], "numbers": [0, -1, 2**40], "more": {"empty": {}, "none": []}}
    content = torch.load(io.BytesIO(torch_file({"a": arrays, "meta": meta})), weights_only=True)
    assert content["meta"] == meta
    for name, array in arrays.items():
        assert bits(content["a"][name]) == bits(np.ascontiguousarray(array).reshape(array.shape))
        assert content["a"][name].is_contiguous()
        assert not content["a"][name].requires_grad


def test_a_written_checkpoint_is_loaded_by_torch_with_its_classes(tmp_path):
    classes = DatasetClasses(("a", "b"), ((1, 2, 3), (4, 5, 6)))
    write_torch_checkpoint(tmp_path / "x.pth", ARRAYS, classes_to_meta(classes))
    content = torch.load(tmp_path / "x.pth", weights_only=True)
    assert content["meta"]["dataset_meta"]["classes"] == ["a", "b"]
    assert content["meta"]["PALETTE"] == [[1, 2, 3], [4, 5, 6]]
    assert {name: bits(x) for name, x in content["state_dict"].items()} == {
        name: bits(x) for name, x in ARRAYS.items()
    }
    mapped = torch.load(tmp_path / "x.pth", weights_only=True, mmap=True)["state_dict"]
    np.testing.assert_array_equal(mapped["conv.weight"].numpy(), ARRAYS["conv.weight"])


@FORMATS
def test_a_tensor_that_repeats_a_number_endlessly_is_refused(zipped, tmp_path):
    endless = torch.ones(1, dtype=torch.float16).expand(1 << 40)
    save({**tensors(), "endless": endless}, tmp_path / "x.pth", zipped)
    with pytest.raises(InputError, match=r"x\.pth is refused: its tensors take .* is endless;"):
        read_torch_checkpoint(tmp_path / "x.pth")


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
    assert classes_from_meta(read.meta) is None
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
    classes = classes_from_meta(read_torch_checkpoint(tmp_path / "x.pth").meta)
    assert classes == DatasetClasses(("road", "bed"), ((1, 2, 3), (4, 5, 6)))


def test_classes_without_colours_get_some(tmp_path):
    content = {"state_dict": tensors(), "meta": {"CLASSES": ["a", "b", "c"], "PALETTE": None}}
    torch.save(content, tmp_path / "x.pth")
    classes = classes_from_meta(read_torch_checkpoint(tmp_path / "x.pth").meta)
    assert classes is not None
    assert classes.names == ("a", "b", "c")
    assert len(set(classes.palette)) == 3


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


@FORMATS
def test_a_file_truncated_anywhere_is_named_as_such(tmp_path, zipped):
    whole = tmp_path / "whole.pth"
    save({"state_dict": {"a": torch.ones(1)}}, whole, zipped)
    content, path = whole.read_bytes(), tmp_path / "x.pth"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"x\.pth is not a whole PyTorch checkpoint") as caught:
            read_torch_checkpoint(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<i8", ">i4", "u1"])
def test_a_palette_saved_as_a_numpy_array_is_kept(tmp_path, dtype, order):
    palette = np.array([[1, 2, 3], [200, 5, 6]], dtype, order=order)
    meta = {"CLASSES": ("a", "b"), "PALETTE": palette}
    torch.save({"state_dict": tensors(), "meta": meta}, tmp_path / "x.pth")
    classes = classes_from_meta(read_torch_checkpoint(tmp_path / "x.pth").meta)
    assert classes == DatasetClasses(("a", "b"), ((1, 2, 3), (200, 5, 6)))


def quantized():
    return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)


@FORMATS
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "entries",
    [
        lambda: {3: torch.ones(2)},
        lambda: {"3": torch.ones(2, dtype=torch.complex64)},
        lambda: {"3": torch.eye(3).to_sparse()},
        lambda: {"3": torch.ones(2), "module.3": torch.zeros(2)},
        lambda: {"3": torch.ones(2, device="meta")},
        lambda: {"3": quantized()},
        lambda: {"3": torch.ones(2, dtype=torch.complex64).conj().imag},
        lambda: {"3": np.ones(2)},
    ],
    ids=["no name", "complex", "sparse", "twice", "meta", "quantized", "negated", "NumPy's"],
)
def test_entries_that_cannot_be_weights_are_named(tmp_path, entries, zipped):
    save({"state_dict": {**tensors(), **entries()}}, tmp_path / "x.pth", zipped)
    with pytest.raises(InputError, match=r"not one dense real tensor each: (module\.)?3"):
        read_torch_checkpoint(tmp_path / "x.pth")
