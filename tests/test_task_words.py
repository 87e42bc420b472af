"""What lies below `gcnet_jax.tasks` knows no task."""

import re

import pytest

WORDS = ("mIoU", "segmentation", "segmentor", "bounding box", "class_names", "num_classes")
ABOVE = ("tasks", "analysis", "cli")
"""The folders that may know tasks."""
EXCEPTIONS = {
    # Where the public names come from.
    "__init__.py": {"segmentation", "segmentor"},
}


def of_the_package(root):
    package = root / "gcnet_jax"
    for file in sorted(package.rglob("*.py")):
        inside = file.relative_to(package)
        if inside.parts[0] not in ABOVE:
            yield inside.as_posix(), file.read_text()


def found_in(text):
    return {word for word in WORDS if re.search(rf"\b{word}\b", text, re.IGNORECASE)}


def test_no_word_of_a_task_stands_below_the_tasks(root):
    found = {name: found_in(text) for name, text in of_the_package(root)}
    assert len(found) > 80
    assert {name: words for name, words in found.items() if words} == EXCEPTIONS


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_found_as_a_word(word):
    assert found_in(f"of {word.upper()}, too") == {word}
    assert not found_in(f"mm{word}s")


def test_no_code_below_the_tasks_imports_by_a_name_that_is_made_up(root):
    """`importlib` is for blocks that a config names, public names and files of the package."""
    imports = {
        name
        for name, text in of_the_package(root)
        if re.search(r"import_module\(|__import__", text)
    }
    assert imports == {"__init__.py", "models/factory.py"}
