"""Exported files from anywhere, whole or not, and what is refused of them."""

import copy
import io
import json
import re
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from jax import export

import gcnet_jax
from gcnet_jax.errors import InputError
from gcnet_jax.export.stablehlo import StableHLOProgram
from gcnet_jax.task import ArrayShapes, ExportedNetwork
from gcnet_jax.tasks import task_of
from tests.export.conftest import (
    entries_of,
    narrow_config,
    of_classification,
    photographs,
)


def changed(exported, tmp_path, change, compression=zipfile.ZIP_STORED):
    """A copy of a file with other entries."""
    entries = entries_of(exported.file)
    change(entries)
    copy = tmp_path / "changed.gcnet"
    with zipfile.ZipFile(copy, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return copy


def with_metadata(**values):
    def change(entries):
        metadata = json.loads(entries["metadata.json"]) | values
        entries["metadata.json"] = json.dumps(metadata).encode()

    return change


def with_program_that_is(**values):
    """What the metadata says of a program, with other values."""

    def change(entries):
        metadata = json.loads(entries["metadata.json"])
        metadata["programs"]["probabilities"] |= values
        entries["metadata.json"] = json.dumps(metadata).encode()

    return change


def with_images_of(edge):
    """A config that has photographs resized to squares of some edge."""

    def change(entries):
        metadata = json.loads(entries["metadata.json"])
        metadata["config"]["data"]["resize_size"] = edge
        entries["metadata.json"] = json.dumps(metadata).encode()

    return change


def for_arrays_of(*shapes):
    name = "probabilities-32x32"
    return with_program_that_is(files=[{"file": name, "array": shape} for shape in shapes])


def with_names(change_names):
    def change(entries):
        metadata = json.loads(entries["metadata.json"])
        metadata["classes"]["names"] = change_names(metadata["classes"]["names"])
        entries["metadata.json"] = json.dumps(metadata).encode()

    return change


def with_weight(array):
    def change(entries):
        name = next(name for name in entries if name.startswith("weights/"))
        encoded = io.BytesIO()
        if isinstance(array, bytes):
            encoded.write(array)
        else:
            before = np.load(io.BytesIO(entries[name]))
            np.save(encoded, array(before), allow_pickle=True)
        entries[name] = encoded.getvalue()

    return change


def with_program(content):
    def change(entries):
        name = next(name for name in entries if name.startswith("programs/"))
        entries[name] = content(entries) if callable(content) else content

    return change


def calling_out(entries):
    """A program that takes what the file's takes, and calls a library of the machine."""
    name = next(name for name in entries if name.startswith("programs/"))
    before = export.deserialize(bytearray(entries[name]))
    classes = before.out_avals[0].shape[1]

    def run(weights, images):
        first = images.astype(jnp.float32).mean((1, 2))[:, :1]
        square = jnp.linalg.cholesky(first[..., None] * first[:, None] + 1)
        kept = sum(x.sum() for x in weights.values())
        return {"probabilities": square[:, 0] * kept * jnp.ones((1, classes))}

    weights, images = jax.tree.unflatten(before.in_tree, before.in_avals)[0]
    as_shape = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype)  # noqa: E731
    arguments = jax.tree.map(as_shape, (weights, images))
    allowed = [export.DisabledSafetyCheck.custom_call("lapack_spotrf_ffi")]
    return bytes(
        export.export(jax.jit(run), platforms=["cpu"], disabled_checks=allowed)(
            *arguments
        ).serialize()
    )


def for_two_devices(entries):
    """The file's program as one that is spread over two devices."""
    name = next(name for name in entries if name.startswith("programs/"))
    before = export.deserialize(bytearray(entries[name]))
    classes = before.out_avals[0].shape[1]
    mesh = jax.make_mesh((2,), ("data",), devices=jax.devices()[:2])
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

    def run(weights, images):
        kept = sum(x.sum() for x in weights.values())
        return {
            "probabilities": images.astype(jnp.float32).mean((1, 2))[:, :1]
            * kept
            * jnp.ones((1, classes))
        }

    arguments = jax.tree.unflatten(before.in_tree, before.in_avals)[0]
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arguments)
    return bytes(
        export.export(jax.jit(run, out_shardings=everywhere), platforms=["cpu"])(
            *shapes
        ).serialize()
    )


def lying_header(shape):
    encoded = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        encoded, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return encoded.getvalue() + bytes(8)


@of_classification
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda entries: entries.update({"metadata.json": b"[" * 100_000}), "damaged, or no"),
        (lambda entries: entries.update({"metadata.json": b"{}"}), "does not say that it is of"),
        (with_metadata(format_version=2), "format's version 2; this version of the library reads"),
        (with_metadata(programs={}), "no program that takes images"),
        (with_metadata(config={"task": "os.system"}), "there is no task 'os.system'"),
        (with_metadata(classes={"names": ["a\x1b[2J"]}), "characters that cannot be shown"),
        (with_weight(lambda x: x * np.nan), "not finite"),
        (with_weight(lambda x: np.array([{}])), "no plain array of numbers"),
        (with_weight(lambda x: x[..., None]), "takes other arrays than the file says"),
        (with_weight(lying_header((2**40,))), "needs others"),
        (with_weight(b"not an array at all"), "damaged, or no"),
        (with_program(b"\0" * 64), "cannot be read by jax"),
        (with_program(for_two_devices), "none of one device"),
        (with_program(calling_out), "calls what is outside of it"),
        (
            with_program_that_is(multiple=0),
            "multiple of its program 'probabilities' is 0; expected",
        ),
        (with_program_that_is(multiple="\x1b[2J"), "multiple of its program .* expected a whole"),
        (with_program_that_is(multiple=10**9), "multiple of its program .* is 1000000000"),
        (with_program_that_is(multiple=True), "multiple of its program .* is True"),
        (with_program_that_is(takes_sizes="no"), "takes_sizes of its program .* is 'no'"),
        (with_program_that_is(takes_sizes=True), "takes other arrays than the file says"),
        (with_program_that_is(results={}), "results of its program .* expected a description"),
        (with_program_that_is(results=["probabilities"]), "results of its program"),
        (with_program_that_is(results={"x": ""}), "returns other results than the file says"),
        (with_program_that_is(files=[]), r"files of its program .* is \[\]; expected one for all"),
        (with_program_that_is(files=7), "no whole exported file"),
        (with_images_of(16_000), "its network sees images of up to 256000000 pixels; expected"),
        (for_arrays_of([32]), r"array of its program .* is \[32\]; expected null, or a height"),
        (for_arrays_of([32, 10**9]), "array of its program"),
        (for_arrays_of([32, 32], [32, 32]), "files of its program"),
        (for_arrays_of(None, [32, 32]), "files of its program"),
        (for_arrays_of([32, 64]), "takes other arrays than the file says"),
        (for_arrays_of(None), "takes other arrays than the file says"),
        (with_names(lambda names: names[1:]), r"the probabilities of its program are float32 of"),
        (with_names(lambda names: [*names, "one more"]), "the probabilities of its program are"),
        (lambda entries: entries.pop("programs/probabilities-32x32.jaxexport"), "no whole"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_not_as_it_should_be_ends_in_one_line(exported, tmp_path, change, message):
    copy = changed(exported, tmp_path, change)
    with pytest.raises(InputError, match=message) as error:
        gcnet_jax.load(copy)
    assert str(copy) in str(error.value)
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)


@of_classification
def test_a_config_that_the_file_has_no_program_for_ends_in_one_line(exported):
    config = gcnet_jax.load(exported.file).config
    config.data.crop_size = 24
    with pytest.raises(InputError, match="has no program for arrays of 24x24; the config's scale"):
        gcnet_jax.load(exported.file, config=config)(photographs()[0])


def test_what_a_detector_of_a_file_returns_is_checked_before_it_is_shown(root):
    config = narrow_config("detection", root)
    task = task_of(config)
    meaning = task.data_sets.meanings[config.data.name]
    shape = task.export.programs(None, config)["objects"].shapes.for_image((32, 32))
    found = {
        "boxes": jnp.zeros((1, 2, 4)), "scores": jnp.ones((1, 2)), "valid": jnp.ones((1, 2), bool),
        "classes": jnp.int32([[0, 7]]), "masks": jnp.zeros((1, 2, 28, 28)),
    }  # fmt: skip

    def program(results):
        batch = export.symbolic_shape("batch")
        arrays = (
            jax.ShapeDtypeStruct((*batch, *shape, 3), jnp.uint8),
            jax.ShapeDtypeStruct((*batch, 2), jnp.int32),
        )

        def run(weights, images, sizes):
            repeat = lambda x: jnp.broadcast_to(x, (images.shape[0], *x.shape[1:]))  # noqa: E731
            return {name: repeat(x) for name, x in results.items()}

        return StableHLOProgram(
            {shape: bytes(export.export(jax.jit(run))({}, *arrays).serialize())},
            ArrayShapes(only=[shape]),
            {},
            results=list(results),
            takes_sizes=True,
        )

    signature = task.export.signature(config, meaning)
    whole = program(found)
    whole.check(signature)
    for name, other, message in [
        ("scores", jnp.ones((1, 3)), r"scores of its program are float32 of \(3\) .* \(objects\)"),
        ("classes", jnp.ones((1, 2)), "classes of its program are float32"),
        ("boxes", jnp.ones((1, 2)), "boxes of its program"),
        (
            "more",
            jnp.ones((1, 2)),
            "its program returns boxes, classes, masks, more, scores, valid",
        ),
    ]:
        with pytest.raises(InputError, match=message):
            program(found | {name: other}).check(signature)
    network = ExportedNetwork({"objects": whole}, meaning, epath.Path("x.gcnet"))
    with pytest.raises(InputError, match=r"x\.gcnet finds objects of the class 7; expected 0 to"):
        task.prediction.network(network, config)(np.zeros((32, 32, 3), np.uint8))


@of_classification
def test_entries_that_are_too_many_too_large_or_lie_over_each_other_are_refused(exported, tmp_path):
    entries = entries_of(exported.file)

    def written(name, more):
        file = tmp_path / name
        with zipfile.ZipFile(file, "w") as archive:
            for entry, content in entries.items():
                archive.writestr(entry, content)
            more(archive)
        return file

    def twice(archive):
        archive.filelist.append(archive.filelist[-1])

    def over_each_other(archive):
        for number in range(3):
            largest = copy.copy(max(archive.filelist, key=lambda entry: entry.file_size))
            largest.filename = f"weights/{number}.npy"
            archive.filelist.append(largest)

    def many(archive):
        for number in range(10_000):
            archive.writestr(str(number), b"")

    def large(archive):
        archive.filelist[0].file_size = archive.filelist[0].compress_size = 2**24 + 1
        archive.writestr("filling", bytes(2**24))

    for name, more, message in [
        ("twice", twice, "two of its entries have one name"),
        ("over_each_other", over_each_other, "its entries are larger than the file"),
        ("many", many, r"has 100\d\d entries; expected at most 10000"),
        ("large", large, r"metadata\.json has 16777217 bytes; expected up to 16777216"),
    ]:
        with pytest.raises(InputError, match=message):
            gcnet_jax.load(written(name, more))


@of_classification
def test_a_compressed_or_cut_file_is_refused(exported, tmp_path):
    copy = changed(exported, tmp_path, lambda entries: None, zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="is compressed"):
        gcnet_jax.load(copy)
    cut, content = tmp_path / "cut.gcnet", exported.file.read_bytes()
    for length in (100, len(content) // 2, len(content) - 200):
        cut.write_bytes(content[:length])
        with pytest.raises(InputError, match=rf"{re.escape(str(cut))} is damaged"):
            gcnet_jax.load(cut)


def test_an_onnx_model_is_named_as_one_where_runs_are_loaded(tmp_path):
    file = tmp_path / "shapes.onnx"
    file.write_bytes(b"\x08\x0a")
    with pytest.raises(InputError, match=r"shapes\.onnx is an ONNX model, which onnxruntime runs"):
        gcnet_jax.load(file)
