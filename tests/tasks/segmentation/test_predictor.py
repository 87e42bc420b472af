"""Many images at once: each as if alone, with few programs, whatever is wrong with some of them."""

import numpy as np
import pytest
from PIL import Image

from gcnet_jax.errors import InputError
from gcnet_jax.models import split_for_evaluation
from gcnet_jax.tasks import trained_network
from gcnet_jax.tasks.segmentation import predictor as predicting
from gcnet_jax.tasks.segmentation.predictor import Predictor


@pytest.fixture(scope="module")
def make(narrow_model, narrow_config, classes):
    """`make(**evaluation)`: a new predictor whose config differs in that."""

    def of(multi_scale=False, **evaluation):
        config = narrow_config.copy_and_resolve_references()
        config.evaluation.update(evaluation)
        model = split_for_evaluation(narrow_model)
        return Predictor(*model, classes, config, multi_scale=multi_scale)

    return of


@pytest.fixture(scope="module")
def predictor(make):
    return make()


def images_of(sizes, photo):
    return [np.asarray(Image.fromarray(photo).resize((w, h))) for h, w in sizes]


def networks(names):
    """Of the programs that were compiled those that are a network."""
    return [name for name in names if "(logits)" in name]


@pytest.fixture(scope="module")
def many(photo):
    """Images of 50 sizes, the first of several tiles."""
    sizes = np.random.default_rng(1).integers(20, 200, (49, 2)).tolist()
    return images_of([(300, 600), *sizes], photo)


def test_images_of_any_sizes_compile_no_more_networks_than_allowed(make, many, compilations):
    told = []
    with compilations() as names:
        found = list(make(max_buckets=3).segment(many, compiling=lambda *x: told.append(x)))
    assert sorted(index for index, _ in found) == list(range(50))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert len(networks(names)) == 3


def test_images_of_the_same_proportions_share_all_programs(predictor, photo, compilations):
    predictor.results([photo])
    again = images_of(
        [photo.shape[:2], (2 * photo.shape[0], 2 * photo.shape[1]), (500, 770)], photo
    )
    with compilations() as names:
        for image in again:
            assert predictor.results([image])[0].label.shape == image.shape[:2]
    assert names == []


def test_each_image_comes_out_as_it_does_alone(predictor, many):
    results = predictor.results(many)
    for image, result in list(zip(many, results, strict=True))[:2]:
        assert result.image is image
        scores = predictor.scores(image)
        assert scores.shape[:2] == image.shape[:2]
        best = np.take_along_axis(scores, result.label[..., None].astype(int), -1)[..., 0]
        np.testing.assert_allclose(best, scores.max(-1), rtol=1e-4, atol=1e-5)
        alone = predictor.results([image])[0].label
        assert (result.label != alone).mean() < 1e-3  # a tie may fall the other way


def test_scales_and_flips_are_averaged_in_batches_too(make, many):
    predictor = make(multi_scale=True, scales=(0.25, 0.5))
    for image, result in zip(many[1:3], predictor.results(many[1:3]), strict=True):
        scores = predictor.scores(image)
        np.testing.assert_allclose(scores.sum(-1), 1, rtol=1e-5)
        assert (result.label != scores.argmax(-1)).mean() < 1e-3


def test_what_cannot_be_read_is_named_and_the_rest_is_done(predictor, photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.png").write_text("no image")
    names = ("cut.png", "whole.png", "text.png", "nowhere.png", "whole.png")
    found = dict(predictor.segment([tmp_path / name for name in names]))
    for index in (0, 2, 3):
        assert isinstance(found[index], InputError)
        assert names[index] in str(found[index])
    for index in (1, 4):
        np.testing.assert_array_equal(found[index].image, photo)
    with pytest.raises(InputError, match=r"\.png"):
        predictor.results([tmp_path / name for name in names])


def test_a_size_that_is_other_than_a_file_says_is_found_out(
    predictor, photo, tmp_path, monkeypatch
):
    Image.fromarray(photo).save(tmp_path / "x.png")
    expected = predictor.results([photo])[0].label
    for says in ((5, 900), None):
        monkeypatch.setattr(predicting, "read_displayed_size", lambda path, says=says: says)
        (result,) = predictor.results([tmp_path / "x.png"])
        np.testing.assert_array_equal(result.label, expected)


def test_a_file_that_changes_with_every_look_is_given_up(predictor, photo, tmp_path, monkeypatch):
    Image.fromarray(photo).save(tmp_path / "x.png")
    looks = iter(range(2, 99))
    monkeypatch.setattr(trained_network, "read_rgb", lambda path, **_: photo[: next(looks)])
    with pytest.raises(InputError, match="changes while it is read"):
        predictor.results([tmp_path / "x.png"])
