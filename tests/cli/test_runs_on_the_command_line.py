"""Trained networks on the command line: by what they are named, and the config they bring."""

import functools
import hashlib
import json
import shutil

import cv2
import numpy as np
import pytest
from absl import flags

from gcnet_jax import interop, training
from gcnet_jax.cli.command import PREEMPTED, run
from gcnet_jax.errors import InputError, Interrupted, Preempted

PUBLISHED = "gcnet_r50-d8_4xb2-40k_cityscapes-512x1024"


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    file = tmp_path_factory.mktemp("photos") / "photo.png"
    cv2.imwrite(str(file), np.zeros((64, 128, 3), np.uint8))
    return file


@pytest.fixture
def begun(trained, tmp_path):
    """A run whose training has saved nothing yet."""
    (tmp_path / "plants").mkdir()
    shutil.copy(trained / "config.json", tmp_path / "plants")
    return tmp_path / "plants"


@pytest.fixture
def understood(command, monkeypatch, tmp_path):
    """`understood(*arguments)`: the run, checkpoint and config that `predict` would load."""
    found = {}

    def load(task, config, mesh, **model):
        found.update(model, config=config)
        raise InputError("this is as far as it goes")

    monkeypatch.setattr(training, "load_trained_model", load)

    def ask(*arguments):
        finished = command("predict", *arguments, f"--output_dir={tmp_path / 'out'}")
        assert finished.stderr == "error: this is as far as it goes\n"
        return found["workdir"], found["checkpoint"], found["config"]

    return ask


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_a_misspelt_run_is_answered_with_the_run_beside_it(verb, begun, photo, fails, command):
    says = f"there is no run {begun.parent / 'plant'} (did you mean '{begun}'?)"
    images = [photo] if verb == "predict" else []
    fails(verb, begun.parent / "plant", *images, says=says, code=2)
    fails(verb, f"--workdir={begun.parent / 'plant'}", *images, says=says, code=2)
    finished = command(verb, "plant", *images, folder=begun.parent)
    assert "there is no run plant (did you mean 'plants'?)" in finished.stderr


def test_a_misspelt_published_run_is_answered_with_the_right_one(photo, fails):
    says = f"(did you mean '{PUBLISHED}'?)"
    fails("predict", f"{PUBLISHED}8", photo, says=says, code=2)
    fails("predict", f"--checkpoint={PUBLISHED}8", photo, says=says, code=2)


def test_a_run_that_has_saved_nothing_yet_is_a_run(begun, photo, fails, tmp_path):
    says = f"there is no checkpoint in {begun} yet: the first of this run comes after"
    fails("evaluate", begun, says=says)
    fails("predict", begun, photo, f"--output_dir={tmp_path / 'out'}", says=says)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [PUBLISHED, f"gcnet/{PUBLISHED}"])
def test_a_published_run_is_named_as_in_python(name, photo, understood):
    workdir, checkpoint, config = understood(name, photo, "--config.seed=7")
    assert (workdir, checkpoint) == (None, PUBLISHED)
    assert (config.published_run, config.seed) == (PUBLISHED, 7)
    _, checkpoint, config = understood(f"--checkpoint={PUBLISHED}", photo)
    assert (checkpoint, config.published_run) == (PUBLISHED, PUBLISHED)
    _, checkpoint, config = understood("--config=context_shapes/gcnet", name, photo)
    assert (checkpoint, config.data.name) == (PUBLISHED, "context_shapes")


@pytest.fixture
def published_file(monkeypatch, tmp_path):
    """`published_file(name)`: a file with the content of that published one."""
    path = tmp_path / "downloaded.pth"
    path.write_bytes(b"arrays")
    digest = hashlib.sha256(b"arrays").hexdigest()

    def make(name):
        files = {name: interop.PublishedFile("https://localhost/model.pth", digest[:8])}
        of_these = functools.partial(interop.published_name, files=files)
        monkeypatch.setattr(interop, "published_name", of_these)
        return path

    return make


def test_a_file_with_the_content_of_a_published_one_needs_no_config(
    published_file, photo, understood
):
    path = published_file(PUBLISHED)
    for named in (f"--checkpoint={path}", path):
        _, checkpoint, config = understood(named, photo, "--config.seed=7")
        assert checkpoint == str(path)
        assert (config.published_run, config.seed) == (PUBLISHED, 7)
    _, _, config = understood("--config=context_shapes/gcnet", path, photo)
    assert config.published_run == ""


def test_a_published_backbone_is_said_to_segment_nothing(published_file, photo, fails):
    path = published_file("resnet50_v1c")
    fails("predict", path, photo, says="are of a backbone alone, which is no whole network", code=2)


def test_a_name_of_a_run_here_and_of_a_published_one_is_not_guessed_at(
    trained, photo, command, tmp_path, understood
):
    def ask(*arguments):
        return command("predict", *arguments, photo, folder=tmp_path).stderr

    (tmp_path / PUBLISHED).mkdir()  # which is no network
    out = f"--output_dir={tmp_path / 'out'}"
    as_far = "error: this is as far as it goes\n"
    assert ask(PUBLISHED, out) == as_far
    shutil.copytree(trained, tmp_path / PUBLISHED, dirs_exist_ok=True)
    says = f"error: {PUBLISHED} is both a folder of a trained network and the name of a published"
    assert ask(PUBLISHED, out).startswith(says)
    for named in (f"gcnet/{PUBLISHED}", f"--checkpoint={PUBLISHED}", f"./{PUBLISHED}"):
        assert ask(named, out) == as_far


def test_a_config_without_published_weights_is_no_trained_network(fails, photo):
    says = "has no published weights; train it, with gcnet train --config=context_shapes/gcnet"
    fails("predict", "context_shapes/gcnet", photo, says=says, code=2)


def test_a_checkpoint_brings_its_config_by_its_place_or_as_an_option(
    trained, photo, command, tmp_path
):
    checkpoint = trained / "checkpoints" / "30"
    alone = tmp_path / "handed_on"
    shutil.copytree(checkpoint, alone)  # with no config.json beside it
    scores = []
    for number, model in enumerate((checkpoint, f"--checkpoint={alone}")):
        output = tmp_path / f"{number}.json"
        finished = command("evaluate", model, f"--output={output}", "--split=val")
        assert finished.returncode == 0, finished.stderr
        scores.append(json.loads(output.read_text())["confusion"])
    assert scores[0] == scores[1]
    finished = command("predict", alone, photo, f"--output_dir={tmp_path / 'out'}")
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "out" / "photo_overlay.png").exists()


def test_overrides_change_the_config_that_a_run_or_a_checkpoint_brings(trained, fails):
    for model in (trained, trained / "checkpoints" / "30"):
        fails("evaluate", model, "--config.evaluation.split=vla", says="has no split 'vla'")


def test_checkpoints_without_the_config_beside_them_are_a_run(trained, photo, tmp_path, understood):
    (tmp_path / "run").mkdir()
    shutil.copytree(trained / "checkpoints", tmp_path / "run" / "checkpoints")
    workdir, _, config = understood(tmp_path / "run", photo)
    assert workdir == str(tmp_path / "run")
    assert config.training.total_steps == 30


def test_the_metadata_of_a_checkpoint_chooses_no_code_unless_the_user_names_the_config(
    trained, photo, fails, tmp_path, tiny
):
    hostile = tmp_path / "40"
    shutil.copytree(trained / "checkpoints" / "30", hostile)
    metadata = json.loads((hostile / "metadata" / "metadata").read_text())
    metadata["config"]["model"]["decode_head"]["context"]["block"] = "antigravity:Block"
    (hostile / "metadata" / "metadata").write_text(json.dumps(metadata))
    for model in (hostile, f"--checkpoint={hostile}", f"--config={hostile}"):
        fails("predict", model, photo, says="must not choose code to run", code=2)
    says = "another model than the config"
    fails("predict", *tiny, hostile, photo, f"--output_dir={tmp_path / 'out'}", says=says)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--checkpoint=published", "does not say of which network; name its config with --config"),
        ("--checkpoint=nowhere", "there is no checkpoint nowhere"),
        ("--checkpoint={photos}", "is no whole checkpoint: it has no metadata"),
        ("--checkpoint={photo}", "does not say which network it is of; name its config"),
        ("--checkpoint={trained}", "is the folder of a run; give it as --workdir={trained}"),
        ("--checkpoint={trained}/checkpoints", "holds the checkpoints of a run"),
        ("{trained}/checkpoints", "or {trained} for the best of them"),
        ("--workdir=nowhere", "there is no run nowhere"),
        ("--workdir={photos}", "{photos} is no run: it has neither config.json nor a checkpoint"),
        ("--workdir={photo}", "{photo} is a file; expected the folder of a run"),
        ("{photos}", "{photos} is neither a run nor a checkpoint; expected the folder of a run"),
        ("{photo}", "{photo} is no trained network; expected the folder of a run"),
        ("nowhere", "there is no run nowhere, nor anything else of that name"),
        ("--split=val", "no trained network is given; expected the folder of a run"),
    ],
)
def test_what_is_no_trained_network_is_answered_with_what_it_is(
    option, says, trained, photo, fails
):
    places = {"trained": trained, "photo": photo, "photos": photo.parent}
    fails("evaluate", option.format(**places), says=says.format(**places), code=2)


def test_no_trained_network_is_asked_for_with_images_alone(fails, tiny, photo):
    for given in ((), tiny):
        fails("predict", *given, f"--images={photo}", says="no trained network is given", code=2)
        fails("predict", *given, "-", says="no trained network is given", code=2)
        fails("predict", *given, photo, says=f"{photo} is no trained network", code=2)


def test_a_run_and_a_checkpoint_at_once_are_refused(fails, trained, photo):
    given = (f"--workdir={trained}", f"--checkpoint={trained / 'checkpoints' / '30'}")
    fails("predict", *given, photo, says="not both", code=2)


def test_the_value_of_an_option_is_not_taken_for_the_run(trained, fails):
    fails("predict", "--output_dir", trained, "photo.jpg", says="there is no run photo.jpg", code=2)


def test_a_run_behind_the_value_of_an_option_is_the_run(trained, begun, photo, understood):
    workdir, _, config = understood("--output_dir", begun, "--config.seed", "7", trained, photo)
    assert (workdir, config.seed) == (str(trained), 7)


def test_a_run_is_evaluated_and_predicts_by_its_folder_alone(trained, photo, command, tmp_path):
    output = tmp_path / "scores.json"
    by_name = command("evaluate", trained, "--split=test", f"--output={output}")
    assert by_name.returncode == 0, by_name.stderr
    config = f"--config={trained / 'config.json'}"
    other = tmp_path / "other.json"
    given = command("evaluate", config, f"--workdir={trained}", "--split=test", f"--output={other}")
    assert given.returncode == 0, given.stderr
    assert json.loads(output.read_text())["confusion"] == json.loads(other.read_text())["confusion"]

    predicted = command("predict", trained, photo, f"--output_dir={tmp_path / 'out'}")
    assert predicted.returncode == 0, predicted.stderr
    assert (tmp_path / "out" / "photo_overlay.png").exists()


RUN = "a run"
SHAPES = ("--config=context_shapes/gcnet",)
JOB = ("--num_processes=2", "--process_id=0", "--coordinator_address=here")


@pytest.mark.parametrize(
    ("verb", "arguments", "says"),
    [
        ("quickstart", ["foo"], "unexpected arguments: foo"),
        ("train", ["foo"], "unexpected arguments: foo"),
        ("train", [], "--config=NAME or FILE is required"),
        ("train", ["--config=context_shapes/gcnet"], "--workdir is required"),
        ("ablate", ["--config=context_shapes/gcnet"], "--output_dir is required"),
        ("convert_checkpoint", ["--config=context_shapes/gcnet"], "--source is required"),
        ("analyze_context", ["attention", "nowhere"], "there is no run nowhere"),
        ("analyze_context", ["attention", RUN, "--output_dir=x", "--positions=1"], "2 or more"),
        ("analyze_context", ["attention", RUN, "--output_dir=x", "--point=2,0"], "expected X,Y"),
        ("analyze_context", ["cost", "--size=64"], "expected HEIGHT,WIDTH"),
        ("ablate", [*SHAPES, "--output_dir=x", "--variants=gc,nll"], "(did you mean 'nl'?)"),
        ("train", [*SHAPES, "--workdir=x", "--num_processes=2"], "belong together"),
        ("train", [*SHAPES, "--workdir=x", *JOB], "expected HOST:PORT"),
    ],
)
def test_a_command_line_that_lacks_something_or_has_too_much_ends_with_2(
    verb, arguments, says, fails, trained
):
    given = [trained if argument == RUN else argument for argument in arguments]
    fails(verb, *given, says=says, code=2)


@pytest.mark.parametrize(("kind", "word"), [(Interrupted, "interrupted"), (Preempted, "preempted")])
def test_a_stop_by_hand_and_a_preemption_are_called_what_they_are(kind, word, capsys):
    def work(arguments):
        raise kind("stopped after step 3, which is saved")

    assert run(work, __name__, flags.FlagValues(), []) == PREEMPTED
    assert capsys.readouterr().err == f"{word}: stopped after step 3, which is saved\n"


def test_a_name_that_no_file_can_have_is_one_error(fails, photo):
    fails("predict", "x" * 300, photo, says="there is no run xxx", code=2)
    fails("predict", f"--checkpoint={'x' * 300}", photo, says="there is no checkpoint xxx", code=2)
