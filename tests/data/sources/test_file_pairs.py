import re

import pytest
from etils import epath
from hypothesis import given
from hypothesis import strategies as st

from gcnet_jax.data.sources.file_pairs import Patterns, find_pairs
from gcnet_jax.errors import InputError


def tree(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return epath.Path(root)


def pairs(root, image, label):
    found = find_pairs(Patterns(root, [image]), Patterns(root, [label]), read_label=None)  # pyright: ignore
    return [
        (pair.name, str(pair.image.relative_to(root)), str(pair.label.relative_to(root)))
        for pair in found
    ]


def test_stars_match_within_names_and_bind_images_to_labels(tmp_path):
    root = tree(tmp_path, "a/1_rgb.jpg", "a/1_label.png", "b/1_rgb.jpg", "b/1_label.png")
    assert pairs(root, "*/*_rgb.jpg", "*/*_label.png") == [
        ("a_1", "a/1_rgb.jpg", "a/1_label.png"),
        ("b_1", "b/1_rgb.jpg", "b/1_label.png"),
    ]
    assert pairs(root, "a/*_rgb.jpg", "b/*_label.png") == [
        ("1_rgb", "a/1_rgb.jpg", "b/1_label.png")
    ]
    assert pairs(root, "a/1_rgb.jpg", "b/1_label.png")[0][0] == "1_rgb"


def test_everything_but_the_star_stands_for_itself(tmp_path):
    root = tree(tmp_path, "x[1]/a.b?.jpg", "x[1]/a.b?.png", "x1/axb0.jpg", "x1/axb0.png")
    assert pairs(root, "x[1]/*.b?.jpg", "x[1]/*.b?.png") == [
        ("a.b?", "x[1]/a.b?.jpg", "x[1]/a.b?.png")
    ]


def test_hidden_files_are_left_out(tmp_path):
    root = tree(tmp_path, "i/1.jpg", "i/._1.jpg", "i/.jpg", "m/1.png")
    assert len(pairs(root, "i/*.jpg", "m/*.png")) == 1


def test_names_that_cannot_be_told_apart_are_refused(tmp_path):
    root = tree(tmp_path, *(f"{p}.{s}" for p in ("a_b/c", "a/b_c", "d/c") for s in ("jpg", "png")))
    with pytest.raises(InputError, match="2 images would both be called 'a_b_c'"):
        pairs(root, "*/*.jpg", "*/*.png")


@given(
    texts=st.sets(
        st.text(st.characters(codec="ascii", exclude_characters="/\0."), min_size=1, max_size=6),
        min_size=1,
        max_size=6,
    )
)
def test_any_file_names_find_their_partners_in_order(tmp_path_factory, texts):
    root = tree(
        tmp_path_factory.mktemp("names"),
        *(f"i/{text}_rgb.jpg" for text in texts),
        *(f"m/{text}_label.png" for text in texts),
    )
    found = pairs(root, "i/*_rgb.jpg", "m/*_label.png")
    assert [image for _, image, _ in found] == sorted(f"i/{text}_rgb.jpg" for text in texts)
    for name, image, label in found:
        assert image == f"i/{name}.jpg"
        assert label == f"m/{re.sub('_rgb$', '', name)}_label.png"
