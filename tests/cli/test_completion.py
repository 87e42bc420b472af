"""What a shell offers behind `gcnet`, asked as bash asks."""

import os
import subprocess
import sys

import argcomplete
import pytest

from gcnet_jax.cli.completion import FIRST_ARGUMENTS
from gcnet_jax.cli.data_sets import preparables
from gcnet_jax.cli.gcnet import VERBS

PUBLISHED = "gcnet_r50-d8_4xb2-40k_cityscapes-512x1024"

ASK = """
for line in "$@"; do
  COMP_LINE=$line COMP_POINT=${#line} COMP_TYPE=9 COMPREPLY=()
  COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
  _python_argcomplete gcnet
  echo "${COMPREPLY[*]}"
done
"""


@pytest.fixture(scope="module")
def offered(tmp_path_factory, slow_to_import):
    """`offered(*lines)`: what bash offers behind each, where there are a run, a config and a photo.

    The command fails if it imports what takes long.
    """
    folder = tmp_path_factory.mktemp("completion")
    (folder / "bin").mkdir()
    program = folder / "bin" / "gcnet"
    without = f"import sys; sys.modules.update(dict.fromkeys({slow_to_import}))"
    program.write_text(
        f"#!{sys.executable}\n{without}\nfrom gcnet_jax.cli.gcnet import main\nmain()\n"
    )
    program.chmod(0o700)
    (folder / "here" / "runs" / "plants" / "checkpoints").mkdir(parents=True)
    (folder / "here" / "runs" / "plants" / "config.json").touch()
    for name in ("mine.py", "photo.png"):
        (folder / "here" / name).touch()

    def ask(*lines):
        done = subprocess.run(
            ["bash", "-c", argcomplete.shellcode(["gcnet"]) + ASK, "bash", *lines],
            cwd=folder / "here",
            env={**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        answers = [set(line.split()) for line in done.stdout.splitlines()]
        assert len(answers) == len(lines)
        return answers

    return ask


def test_verbs_and_their_options_are_offered(offered):
    verbs, begun, options, choices, keys = offered(
        "gcnet ",
        "gcnet tr",
        "gcnet train --",
        "gcnet prepare_dataset --pixels=",
        "gcnet train --config=small --config.data.cr",
    )
    assert verbs == set(VERBS)
    assert begun == {"train"}
    assert {"--config", "--workdir", "--print_config"} <= options
    assert choices == {"as_found", "uncompressed"}
    assert keys == {"--config.data.crop_size"}


def test_configs_are_offered_by_name_and_by_file(offered):
    short, full, apart, all_of_them = offered(
        f"gcnet train --config={PUBLISHED[:-2]}",
        "gcnet train --config=context_shapes/",
        "gcnet train --config sm",
        "gcnet train --config=",
    )
    assert short == {PUBLISHED}
    assert full == {"context_shapes/fcn", "context_shapes/gcnet"}
    assert apart == {"small"}
    assert {"small", PUBLISHED, "mine.py", "runs/"} <= all_of_them
    assert "photo.png" not in all_of_them


def test_what_comes_first_behind_a_verb_is_offered_and_after_it_images(offered):
    tables, sets, networks, images, nothing = offered(
        "gcnet list ",
        "gcnet prepare_dataset ca",
        "gcnet predict ",
        "gcnet predict runs/plants ",
        "gcnet train ",
    )
    assert tables == {"configs", "data", "weights", "runs"}
    assert sets == {"camvid"}
    assert {"runs/plants", PUBLISHED} <= networks
    assert images == {"runs/", "mine.py", "photo.png"}
    assert nothing == set()


def test_what_is_offered_first_is_all_that_a_verb_takes(command):
    offered = FIRST_ARGUMENTS["prepare_dataset"]
    known = [{*of.sets.official, of.own.command} for of in preparables().values()]
    assert set(offered) == set().union(*known)
    assert len(offered) == sum(map(len, known))  # two tasks have no name in common
    for verb in ("list", "analyze_context"):
        expected = command(verb, "nothing_like_it").stderr.partition("expected ")[2]
        quoted = " or ".join(f"'{name}'" for name in FIRST_ARGUMENTS[verb])
        assert expected.startswith(quoted), verb
