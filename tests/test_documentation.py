import re
import subprocess
import sys

import pytest


def blocks(path):
    return "\n".join(re.findall(r"```(?:bash|sh|python)\n(.*?)```", path.read_text(), re.S))


def test_what_the_readme_and_docs_name_is_there(root):
    for page in [root / "README.md", *(root / "docs").glob("*.md")]:
        text = page.read_text()
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
        for script in re.findall(r"(?:python )?(scripts/\w+\.\w+)", blocks(page)):
            assert (root / script).exists(), f"{page.name} names {script}"
        for config in re.findall(r"(configs/[\w./-]+\.py)", text):
            assert (root / config).exists(), f"{page.name} names {config}"


def test_the_readmes_python_runs(root):
    examples = re.findall(r"```python\n(.*?)```", (root / "README.md").read_text(), re.S)
    assert examples
    process = subprocess.run(
        [sys.executable, "-c", "\n".join(examples)], cwd=root, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr


def test_importing_the_package_needs_neither_tensorflow_nor_torch():
    code = "import gcnet_jax, sys; print([m for m in ('tensorflow', 'torch') if m in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout.strip() == "[]", process.stderr


@pytest.mark.parametrize("name", ["Segmentor", "create_model", "functional", "normalize_images"])
def test_public_names_are_documented(name):
    import gcnet_jax

    assert name in gcnet_jax.__all__
    assert (getattr(gcnet_jax, name).__doc__ or "").strip()
