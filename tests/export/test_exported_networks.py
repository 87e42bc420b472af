"""Exported files of every task: what they say beside the run that they are of."""

import json

import numpy as np

import gcnet_jax
from tests.export.conftest import photographs


def arrays_of(result):
    """What a result of any task says, as arrays."""
    if hasattr(result, "arrays"):
        return result.arrays()
    return {"label": np.asarray(result.label), "scores": result.scores()}


def test_a_loaded_file_says_what_the_run_says_of_images_of_any_sizes_alone_and_in_lists(exported):
    run, file = gcnet_jax.load(exported.checkpoint), gcnet_jax.load(exported.file)
    images = photographs()
    assert type(file) is type(run)
    assert file.classes == run.classes
    assert file.config.task == exported.task
    ours, theirs = file(images), run(images)
    if exported.task != "detection":  # which takes a program more for each
        ours, theirs = [*ours, file(images[2])], [*theirs, run(images[2])]
    for one, expected in zip(ours, theirs, strict=True):
        assert type(one) is type(expected)
        found, right = arrays_of(one), arrays_of(expected)
        assert found.keys() == right.keys()
        for name, array in right.items():
            np.testing.assert_allclose(found[name], array, atol=1e-3, err_msg=name)
            assert array.size


def test_the_report_beside_a_file_says_how_far_it_is_from_the_model(exported):
    report = json.loads((exported.file.parent / "network.gcnet.equality.json").read_text())
    assert report["agree"]
    assert {one["image"] for one in report["images"]} == {"photo 0", "photo 1"}
    assert {one["batch"] for one in report["images"]} == {2}
    assert max(one["deviation"] for one in report["worst"]) < 1e-3
    assert {one["equal"] for one in report["images"] if one["result"] == "classes"} <= {1.0}
