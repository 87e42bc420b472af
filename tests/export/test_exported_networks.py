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
    for one, expected in zip(
        [*file(images), file(images[2])], [*run(images), run(images[2])], strict=True
    ):
        assert type(one) is type(expected)
        ours, theirs = arrays_of(one), arrays_of(expected)
        assert ours.keys() == theirs.keys()
        for name, array in theirs.items():
            np.testing.assert_allclose(ours[name], array, atol=1e-3, err_msg=name)
            assert array.size


def test_the_report_beside_a_file_says_how_far_it_is_from_the_model(exported):
    report = json.loads((exported.file.parent / "network.gcnet.equality.json").read_text())
    assert report["agree"]
    assert {one["image"] for one in report["images"]} == {"photo 0", "photo 1", "photo 2"}
    assert max(one["batch"] for one in report["images"]) >= 2
    assert max(one["deviation"] for one in report["worst"]) < 1e-3
    assert {one["equal"] for one in report["images"] if one["result"] == "classes"} <= {1.0}
