"""evaluate.py and predict.py on a trained run, each checked against the other."""

import json
import os
import re
import shutil

import cv2
import jax
import numpy as np
import pytest
from PIL import Image

from gcnet_jax.tasks.segmentation.data import DATA_SETS, decode

CLASSES = DATA_SETS.meaning("context_shapes")


def indices(path):
    """The pixels of a PNG as they are stored, without the colours of a palette."""
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def images(shapes_dir, tmp_path_factory):
    """The test split as PNG files, and its labels by name."""
    folder = tmp_path_factory.mktemp("images")
    labels = {}
    records = DATA_SETS.open_split("context_shapes", shapes_dir, "test")
    for i in range(len(records)):
        sample = decode(records[i])
        name = records[i]["name"].decode()
        cv2.imwrite(str(folder / f"{name}.png"), sample["image"][..., ::-1])
        labels[name] = sample["label"]
    return folder, labels


@pytest.fixture(scope="module")
def predicted(images, trained, tiny, command, tmp_path_factory):
    """The folder that predict.py wrote for all test images."""
    output = tmp_path_factory.mktemp("predicted")
    process = command(
        "predict",
        *tiny,
        f"--workdir={trained}",
        f"--output_dir={output}",
        "--save_logits",
        images[0],
    )
    assert process.returncode == 0, process.stderr
    assert "200 image(s) predicted" in process.stdout
    return output


def test_evaluation_counts_what_prediction_predicts(images, predicted, trained, tiny, command):
    process = command("evaluate", *tiny, f"--workdir={trained}", "--split=test")
    assert process.returncode == 0, process.stderr
    result = json.loads((trained / "evaluation_test.json").read_text())

    confusion = np.zeros((7, 7), int)
    for name, label in images[1].items():
        prediction = indices(predicted / f"{name}_label.png")
        np.add.at(confusion, (label, prediction), 1)
    counted = np.array(result["confusion"])
    assert counted.sum() == confusion.sum() == 200 * 64 * 128
    # A tie between two classes may fall the other way in a batch.
    assert np.abs(counted - confusion).sum() <= 8
    iou = np.diag(counted) / (counted.sum(0) + counted.sum(1) - np.diag(counted))
    for i, name in enumerate(CLASSES.names):
        assert result["classes"][name]["IoU"] == pytest.approx(iou[i], abs=1e-12)
        assert f" {name} " in process.stdout
        assert f"{100 * iou[i]:.2f}" in process.stdout
    assert result["summary"]["mIoU"] == pytest.approx(iou.mean(), abs=1e-12)
    assert result["images"] == 200

    report = (trained / "report_test.html").read_text()
    assert f"gcnet evaluate {tiny[0]}" in report
    assert "The config is that of the training." in report
    assert f"<strong>{100 * result['summary']['mIoU']:.2f}</strong>" in report
    scores = {}
    for name, label in images[1].items():
        prediction = indices(predicted / f"{name}_label.png")
        areas = [(label == k, prediction == k) for k in np.unique(label)]
        scores[name] = np.mean([(a & b).sum() / (a | b).sum() for a, b in areas])
    worst = report.partition("Worst images</h2>")[2]
    assert f"<strong>{min(scores, key=scores.get)}</strong> IoU" in worst


def test_a_report_takes_no_network_of_its_own_and_says_what_differs_from_the_training(
    trained, tiny, command, tmp_path, caplog
):
    options = (f"--workdir={trained}", "--split=test", "--config.evaluation.batch_size=25")
    with jax.log_compiles(), caplog.at_level("WARNING"):
        process = command("evaluate", *tiny, *options, f"--output={tmp_path / 'other.json'}")
    assert process.returncode == 0, process.stderr
    said = " ".join(record.getMessage() for record in caplog.records)
    compiled = re.findall(r"Finished XLA compilation of jit\((\w+)\)", said)
    of_images = [name for name in compiled if name != "_sums"]  # by which weights are checked
    assert len(of_images) == 2  # the network, for the one size that there is, and what counts
    assert of_images[1] == "add_counts"
    assert "evaluation.batch_size: 50 -&gt; 25" in (tmp_path / "other.html").read_text()


def test_an_evaluation_replaces_only_what_an_evaluation_wrote(trained, tiny, fails, tmp_path):
    def refused(output, says, code=1):
        given = (*tiny, f"--workdir={trained}", f"--output={output}")
        fails("evaluate", *given, says=says, code=code)

    (tmp_path / "mine.json").write_text('{"precious": 1}')
    refused(tmp_path / "mine.json", "mine.json is there, and this command did not write it")
    (tmp_path / "photo.png").write_bytes(b"precious")
    refused(tmp_path / "photo.json", "photo.png is there, and this command did not write it")
    (tmp_path / "page.html").write_bytes(b"precious")
    refused(tmp_path / "page.json", "page.html is there, and this command did not write it")
    refused(tmp_path / "photo.png", "no file name that ends in .json", 2)
    refused(tmp_path, "no file name that ends in .json", 2)
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file" / "x.json", f"no files can be written in {tmp_path / 'file'}")
    assert (tmp_path / "mine.json").read_text() == '{"precious": 1}'
    assert (tmp_path / "photo.png").read_bytes() == b"precious"


def test_a_run_and_a_checkpoint_and_a_file_are_told_apart(trained, tiny, fails, tmp_path):
    says = f"is the folder of a run; give it as --workdir={trained}"
    fails("evaluate", *tiny, f"--checkpoint={trained}", says=says, code=2)
    says = f"--workdir: {trained / 'metrics.jsonl'} is a file; expected the folder of a run"
    fails("evaluate", *tiny, f"--workdir={trained / 'metrics.jsonl'}", says=says, code=2)


def test_predictions_are_labels_overlays_and_logits_at_the_size_of_the_image(images, predicted):
    name, _ = next(iter(images[1].items()))
    logits = np.load(predicted / f"{name}_logits.npy")
    label = indices(predicted / f"{name}_label.png")
    overlay = cv2.imread(str(predicted / f"{name}_overlay.png"))[..., ::-1].astype(int)
    image = cv2.imread(str(images[0] / f"{name}.png"))[..., ::-1].astype(int)
    with Image.open(predicted / f"{name}_label.png") as shown:
        np.testing.assert_array_equal(shown.convert("RGB"), np.array(CLASSES.palette)[label])
    assert logits.dtype == np.float32
    assert logits.shape == (64, 128, 7)
    np.testing.assert_array_equal(label, logits.argmax(-1))
    assert np.abs(overlay - (image + np.array(CLASSES.palette)[label]) / 2).max() <= 1
    assert not list(predicted.glob(".*")), "no partial files are left"


def test_images_of_any_size_and_mode_are_segmented(trained, tiny, command, tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.zeros((37, 51), np.uint8))
    cv2.imwrite(str(tmp_path / "photo.jpg"), np.zeros((64, 40, 3), np.uint8))
    process = command(
        "predict",
        *tiny,
        f"--workdir={trained}",
        f"--output_dir={tmp_path / 'out'}",
        f"--images={tmp_path / 'grey.png'}",
        tmp_path / "photo.jpg",
    )
    assert process.returncode == 0, process.stderr
    for name, shape in (("grey", (37, 51)), ("photo", (64, 40))):
        label = indices(tmp_path / "out" / f"{name}_label.png")
        assert label.shape == shape
    assert len(list((tmp_path / "out").iterdir())) == 5  # two each, and the page


def test_one_checkpoint_can_be_named(trained, tiny, command, tmp_path):
    output = tmp_path / "deep" / "scores.json"
    process = command(
        "evaluate",
        *tiny,
        f"--checkpoint={trained / 'checkpoints' / '30'}",
        f"--output={output}",
    )
    assert process.returncode == 0, process.stderr
    rows = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    last = [row for row in rows if row["split"] == "val"][-1]
    assert json.loads(output.read_text())["summary"]["mIoU"] == pytest.approx(last["mIoU"])


@pytest.fixture
def predict(trained, tiny, command):
    """`predict(*arguments)`: with the tiny run."""
    return lambda *arguments: command("predict", *tiny, f"--workdir={trained}", *arguments)


def test_the_limit_on_pixels_is_that_of_the_config(predict, tmp_path):
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((8, 16, 3), np.uint8))
    arguments = (f"--output_dir={tmp_path / 'out'}", tmp_path / "x.png")
    finished = predict("--config.data.max_image_pixels=127", *arguments)
    assert finished.returncode == 1
    assert "more than the limit of 127; to take it all the same" in finished.stderr
    assert predict("--config.data.max_image_pixels=128", *arguments).returncode == 0


def test_photographs_are_segmented_as_they_are_displayed(predict, tmp_path):
    stored = np.random.default_rng(0).integers(0, 255, (24, 40, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # by 90 degrees clockwise
    Image.fromarray(stored).save(tmp_path / "stored.png", exif=exif)
    Image.fromarray(np.rot90(stored, -1)).save(tmp_path / "upright.png")
    finished = predict(f"--output_dir={tmp_path / 'out'}", *tmp_path.glob("*.png"))
    assert finished.returncode == 0, finished.stderr
    for kind in ("label", "overlay"):
        stored, upright = (
            indices(tmp_path / "out" / f"{name}_{kind}.png") for name in ("stored", "upright")
        )
        assert stored.shape[:2] == (40, 24)
        np.testing.assert_array_equal(stored, upright)


def test_a_folder_of_all_kinds_of_files_is_done_but_for_what_is_no_image(predict, tmp_path):
    folder, out = tmp_path / "photos", tmp_path / "out"
    (folder / "more" / "deep").mkdir(parents=True)
    picture = np.random.default_rng(0).integers(0, 255, (8, 16, 3)).astype(np.uint8)
    for name in ("a.png", "a.ppm", "b.JPG", "c.tif", "d.bmp", "e.webp", "more/deep/f.jpeg"):
        cv2.imwrite(str(folder / name), picture)
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes((folder / "a.png").read_bytes())
    (folder / "cut.jpg").write_bytes((folder / "b.JPG").read_bytes()[:300])
    (folder / "._a.png").write_bytes(b"of macOS")
    (folder / "notes.txt").write_text("")
    finished = predict(f"--output_dir={out}", folder)
    assert finished.returncode == 1
    assert "7 image(s) predicted" in finished.stdout
    assert (
        "files that are no images or videos (1 .txt) and 1 subfolder(s), which --recursive"
        in finished.stdout
    )
    assert "left out: " in finished.stderr
    assert "cut.jpg" in finished.stderr
    assert finished.stderr.splitlines()[-1] == (
        "error: 1 of 8 images could not be read; they are named above"
    )
    labels = {os.fsencode(path.name) for path in out.glob("*_label.png")}
    assert labels == {
        name + b"_label.png" for name in (b"a.png", b"a.ppm", b"b", b"c", b"d", b"e", b"caf\xe9")
    }

    (folder / "cut.jpg").unlink()
    finished = predict(f"--output_dir={tmp_path / 'mirrored'}", "--recursive", folder)
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "mirrored" / "more" / "deep" / "f_overlay.png").exists()


def test_results_never_replace_images_or_what_is_there(predict, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.zeros((8, 16, 3), np.uint8))
    cv2.imwrite(str(folder / "a_label.png"), np.zeros((8, 16, 3), np.uint8))
    made_by_hand = (folder / "a_label.png").read_bytes()

    def refused(says, *arguments):
        finished = predict(*arguments)
        assert finished.returncode == 1
        assert says in finished.stderr.splitlines()[-1]

    refused("lies in a folder of images", f"--output_dir={folder}", folder)
    refused("lies in a folder", f"--output_dir={folder / 'out'}", "--recursive", folder)
    refused("a_label.png is there already", f"--output_dir={folder}", folder / "a.png")
    given = (f"--output_dir={folder}", "--overwrite", folder / "a.png", folder / "a_label.png")
    refused("a_label.png is one of the images", *given)
    assert (folder / "a_label.png").read_bytes() == made_by_hand
    assert len(list(folder.iterdir())) == 2

    out = f"--output_dir={tmp_path / 'out'}"
    assert predict(out, folder).returncode == 0
    refused("is there already; give another --output_dir, or --overwrite", out, folder)
    assert predict(out, "--overwrite", folder).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [
        (["nowhere.png"], "there is no image nowhere.png", 1),
        ([], "no images given", 2),
        (["-", "-"], "given more than once", 2),
    ],
)
def test_missing_images_are_named(fails, trained, tmp_path, arguments, says, code):
    fails("predict", trained, f"--output_dir={tmp_path}", *arguments, says=says, code=code)


def test_two_images_of_one_name_are_refused_before_anything_is_written(
    fails, trained, tiny, tmp_path
):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "x.png"), np.zeros((8, 8, 3), np.uint8))
    fails(
        "predict",
        *tiny,
        f"--workdir={trained}",
        f"--output_dir={tmp_path / 'out'}",
        tmp_path / "a",
        tmp_path / "b",
        says="would have results of the same name",
    )
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_another_model_is_refused(fails, trained, tiny):
    fails(
        "evaluate",
        *tiny,
        "--config.model.decode_head.channels=16",
        f"--workdir={trained}",
        says="decode_head.channels: 8 -> 16",
    )


def test_a_truncated_checkpoint_is_named(fails, trained, tiny, tmp_path):
    folder = tmp_path / "30"
    shutil.copytree(trained / "checkpoints" / "30", folder)
    victim = max(folder.glob("model/**/d/*"), key=lambda path: path.stat().st_size)
    victim.write_bytes(victim.read_bytes()[:100])
    fails("evaluate", *tiny, f"--checkpoint={folder}", says=f"{folder} cannot be read")


def test_a_workdir_without_checkpoints_is_named(fails, tiny, tmp_path):
    fails("evaluate", *tiny, f"--workdir={tmp_path}", says=f"no checkpoint in {tmp_path}")


def test_a_split_that_does_not_exist_is_refused_with_those_that_do(fails, trained, tiny):
    fails("evaluate", *tiny, f"--workdir={trained}", "--split=dev", says="train, val, test")
