import os

import pytest
from etils import epath
from hypothesis import given
from hypothesis import strategies as st

from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.data.sources.file_pairs import Patterns, find_pairs


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


def test_a_star_at_the_end_stands_for_a_name_without_its_suffix(tmp_path):
    root = tree(tmp_path, "i/1.jpg", "i/v2.b.PNG", "m/1.png", "m/v2.b.png", "j/1.jpg", "j/1.jpeg")
    expected = [("1", "i/1.jpg", "m/1.png"), ("v2.b", "i/v2.b.PNG", "m/v2.b.png")]
    assert pairs(root, "i/*", "m/*") == pairs(root, "i/*", "m/*.png") == expected
    with pytest.raises(InputError, match=r"j/1.jpeg and 1.jpg share a name"):
        pairs(root, "j/*", "m/*")
    (root / "m" / "v2.b.png").unlink()
    with pytest.raises(InputError, match=r"i/v2.b.PNG has no label; expected .*/m/v2.b.\*"):
        pairs(root, "i/*", "m/*")


def test_hidden_files_are_left_out(tmp_path):
    # macOS leaves "._1.jpg" beside "1.jpg" on disks of other systems, and archives hold it.
    root = tree(tmp_path, "i/1.jpg", "i/._1.jpg", "i/.jpg", "m/1.png", "m/._1.png")
    assert len(pairs(root, "i/*.jpg", "m/*.png")) == 1


def test_names_that_are_not_utf_8_find_their_partners_and_become_text(tmp_path):
    names = [os.fsdecode(name) for name in (b"caf\xe9", b"\xff\xfe", "café".encode())]
    root = tree(tmp_path, *(f"{kind}/{name}.png" for name in names for kind in ("i", "m")))
    found = pairs(root, "i/*.png", "m/*.png")
    assert {name for name, _, _ in found} == {r"caf\xe9", r"\xff\xfe", "café"}
    assert {image for _, image, _ in found} == {f"i/{name}.png" for name in names}
    for _, image, label in found:
        assert label == image.replace("i/", "m/")


def test_names_that_become_the_same_text_are_refused(tmp_path):
    names = [os.fsdecode(b"\xff"), r"\xff"]
    root = tree(tmp_path, *(f"{kind}/{name}.png" for name in names for kind in ("i", "m")))
    with pytest.raises(InputError, match="2 images would both be called"):
        pairs(root, "i/*.png", "m/*.png")


def test_names_that_cannot_be_told_apart_are_refused(tmp_path):
    root = tree(tmp_path, *(f"{p}.{s}" for p in ("a_b/c", "a/b_c", "d/c") for s in ("jpg", "png")))
    with pytest.raises(InputError, match="2 images would both be called 'a_b_c'"):
        pairs(root, "*/*.jpg", "*/*.png")


@given(
    texts=st.sets(
        st.binary(min_size=1, max_size=6)
        .map(lambda name: os.fsdecode(name.translate(None, b"\0/").lstrip(b".")))
        .filter(lambda name: name and "\\" not in name),
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
        assert name == os.fsencode(image)[2:-4].decode(errors="backslashreplace")
        assert label == image.replace("i/", "m/").replace("_rgb.jpg", "_label.png")
