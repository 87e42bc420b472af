"""Writes docs/api.md: the public names with their signatures and docstrings.

    python scripts/api_page.py           # needs griffe2md, which the extra `dev` brings

The page is read from the source; nothing of the library is imported.
"""

import re
from pathlib import Path
from typing import Any

import griffe
from griffe2md import ConfigDict, render_object_docs

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"
_MODULES = {
    "gcnet_jax": "Models, and what they are used with",
    "gcnet_jax.nn": "The context blocks",
}
_RETURNED = {
    "gcnet_jax.task": ("evaluation.Evaluated",),
    "gcnet_jax.tasks": ("trained_network.TrainedOnClasses",),
    "gcnet_jax.tasks.segmentation": (
        "trained_segmentor.TrainedSegmentor",
        "result.SegmentationResult",
        "split_evaluation.Evaluation",
    ),
    "gcnet_jax.tasks.classification": (
        "trained_classifier.TrainedClassifier",
        "result.ClassificationResult",
        "split_evaluation.Evaluation",
    ),
}
"""What `load` and `evaluate` return, of all tasks and of each: classes in modules of a package."""
_STYLE = ConfigDict(
    docstring_style="google",
    heading_level=3,
    inherited_members=False,
    members=False,
    show_bases=False,
    show_root_full_path=False,
    show_signature_annotations=False,
    signature_crossrefs=False,
    summary=False,
)
_METHODS = ConfigDict(**{**_STYLE, "heading_level": 4})


def page() -> str:
    """Returns the page as Markdown."""
    loader = griffe.GriffeLoader(
        search_paths=[ROOT],
        docstring_parser="google",
        docstring_options={"returns_multiple_items": False, "returns_named_value": False},
        allow_inspection=False,
    )
    package: Any = loader.load("gcnet_jax")
    loader.resolve_aliases()
    lines = [
        "# Python API",
        "",
        "Made from the docstrings by `python scripts/api_page.py`. Short examples: "
        "[README](../README.md#use-it-from-python).",
    ]
    for name, title in _MODULES.items():
        module: Any = package if name == package.path else package[name.removeprefix("gcnet_jax.")]
        lines += ["", f"## {title}: `{name}`"]
        for public in module.exports or ():
            lines += ["", *_described(_definition(module, str(public)))]
    for name, returned in _RETURNED.items():
        lines += ["", f"## What `load` and `evaluate` return: `{name}`"]
        for path in returned:
            found = package[f"{name.removeprefix('gcnet_jax.')}.{path}"]
            lines += ["", *_described(found)]
    return "\n".join(lines) + "\n"


def _definition(module: Any, name: str) -> Any:
    found = module[name]
    found = found.final_target if found.is_alias else found
    return found[name] if found.is_module else found  # which is in a module of its own name


def _described(found: Any) -> list[str]:
    texts = [render_object_docs(found, _STYLE)]
    for member in found.members.values() if found.is_class else ():
        if member.is_public and member.has_docstring and not member.is_alias:
            texts.append(render_object_docs(member, _METHODS))
    return [_plain(text).strip() + "\n" for text in texts]


def _plain(text: str) -> str:
    """The text without links to headings that are not on the page, and without HTML."""
    text = re.sub(r"\[((?:[^][]|\[[^][]*\])*?)\]\(#[^)]*\)", r"\1", text)
    text = re.sub(r"</?code>", "`", text)
    return re.sub(r"\n{3,}", "\n\n", text)


if __name__ == "__main__":
    PAGE.write_text(page())
