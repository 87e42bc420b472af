"""The report of an evaluation: what is on it, and that it needs and runs nothing."""

import dataclasses
import html.parser
import json

import numpy as np
import pytest
from etils import epath

from gcnet_jax.config import to_plain
from gcnet_jax.tasks.segmentation.config import default_config
from gcnet_jax.tasks.segmentation.data import DatasetClasses, generic_palette
from gcnet_jax.tasks.segmentation.evaluation import metrics_from_confusion
from gcnet_jax.tasks.segmentation.report import report_page
from gcnet_jax.tasks.segmentation.shown_images import ImageScore, ShownImage
from gcnet_jax.tasks.segmentation.split_evaluation import Evaluation

HOSTILE = "<script>alert('1')</script> & \"$x\""
CHECKPOINT = epath.Path("/nowhere/<i>.pth")


class Page(html.parser.HTMLParser):
    """A page as a browser sees it: tags, attributes, and text by tag."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.text, self.open = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, "an element that is not closed"

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "srcset")]
        assert not [name for name, _ in attributes if name.startswith("on")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@dataclasses.dataclass
class Shown:
    """Images that are shown, as `ShownImages` has them after an evaluation."""

    images: list
    available: int

    def spread(self):
        return self.images

    def worst(self):
        return self.images


def an_image(classes, name="a"):
    rng = np.random.default_rng(0)
    label, prediction = rng.integers(0, classes, (2, 6, 9)).repeat(9, 1).repeat(9, 2)
    label = label.astype(np.uint8)
    label[:5] = 255
    image = rng.integers(0, 256, (54, 81, 3), np.uint8)
    return ShownImage(name, image, label, prediction.astype(np.uint8), ImageScore(0.123, 0.5))


def an_evaluation(names, dataset="camvid", checkpoint=CHECKPOINT, images=7):
    rng, count = np.random.default_rng(1), len(names)
    confusion = rng.integers(0, 90, (count, count)) + np.diag(rng.integers(0, 5000, count))
    confusion[2], confusion[:, 2] = 0, 0  # a class that never occurs
    classes = DatasetClasses(tuple(names), tuple(generic_palette(count)))
    metrics = metrics_from_confusion(confusion)
    how = "whole images"
    return Evaluation(
        classes,
        confusion,
        metrics,
        dataset=dataset,
        split="val",
        images=images,
        inference=how,
        settings={},
        checkpoint=checkpoint,
    )


def page_of(evaluation, images=None, available=7, command="gcnet evaluate runs/a"):
    shown = Shown(
        [an_image(len(evaluation.classes.names))] if images is None else images, available
    )
    return report_page(evaluation, shown, default_config(), command=command)


@pytest.mark.parametrize("count", [4, 150])
def test_the_page_is_one_file_that_runs_and_fetches_nothing(count):
    page = Page(page_of(an_evaluation([f"class {i}" for i in range(count)])))
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    assert page.links
    for link in page.links:
        assert link.startswith(("data:image/", "#"))
    assert sum(link.startswith("data:") for link in page.links) == 2 * 4 + (count > 24)
    text = "".join(page.text)
    for shown in ("mIoU", "class 3", "Confused most", "IoU 12.3, 50.0% of the pixels right"):
        assert shown in text


def test_text_from_users_is_text_on_the_page():
    names = [HOSTILE, "b", "c", "d"]
    evaluation = an_evaluation(names, dataset=HOSTILE)
    image = an_image(4, name=HOSTILE + "\x1b\udcff")
    content = page_of(evaluation, [image], command=f"gcnet evaluate '{HOSTILE}'")
    content.encode()
    page, plain = Page(content), Page(page_of(an_evaluation(["a", *names[1:]])))
    assert page.tags == plain.tags
    shown = "".join(page.text)
    for text in (f"0 {HOSTILE}", HOSTILE + r"\x1b\udcff", f"'{HOSTILE}'", str(CHECKPOINT)):
        assert text in shown


def test_figures_are_those_of_the_evaluation():
    evaluation = an_evaluation([f"class {i}" for i in range(5)])
    text = "".join(Page(page_of(evaluation)).text)
    for value in evaluation.summary.values():
        assert f"{100 * value:.2f}" in text
    for value in np.delete(evaluation.metrics.iou, 2):
        assert f"{100 * value:.2f}" in text
    assert "intersection over union, mean over 4 of 5 classes" in text
    assert "nan" not in text.lower()
    mistakes = evaluation.confusion - np.diag(np.diag(evaluation.confusion))
    label, predicted = divmod(int(mistakes.argmax()), 5)
    share = mistakes.max() / evaluation.confusion[label].sum()
    assert f"class {label}class {predicted}{100 * share:.1f}%" in text


def test_curves_and_differences_are_those_of_the_run_of_the_checkpoint(tmp_path):
    checkpoint = epath.Path(tmp_path) / "run" / "checkpoints" / "3"
    (checkpoint / "metadata").mkdir(parents=True)
    trained = default_config()
    trained.data.base_scale = (64, 32)
    metadata = {"config": to_plain(trained), "versions": {"jax": "0.0.1"}}
    (checkpoint / "metadata" / "metadata").write_text(json.dumps(metadata))
    rows = [
        {"step": 3, "split": "train", "loss": 1.0},
        {"step": 3, "split": "val", "mIoU": 0.5},
    ]
    (tmp_path / "run" / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    page = Page(page_of(an_evaluation("abcd", checkpoint=checkpoint)))
    text = "".join(page.text)
    assert sum(link.startswith("data:image/svg+xml") for link in page.links) == 2
    assert "are of step 3" in text
    assert "data.base_scale: [64, 32] -> " in text
    assert "jax 0.0.1" in text


def test_a_checkpoint_that_was_handed_on_shows_no_curves_of_what_lies_beside_it(tmp_path):
    checkpoint = epath.Path(tmp_path) / "handed_on" / "3"
    (checkpoint / "metadata").mkdir(parents=True)
    (checkpoint / "metadata" / "metadata").write_text(json.dumps({"config": {}}))
    row = {"step": 3, "split": "val", "mIoU": 0.5}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(row))
    page = Page(page_of(an_evaluation("abcd", checkpoint=checkpoint)))
    assert not [link for link in page.links if link.startswith("data:image/svg+xml")]


def test_where_others_have_evaluated_the_rest_the_page_says_so():
    text = "".join(Page(page_of(an_evaluation("abcd"), available=2)).text)
    assert "2 images that the process which wrote this page has evaluated" in text
    assert "the rest of 7" in text
    nothing = "".join(Page(page_of(an_evaluation("abcd"), images=[], available=0)).text)
    assert "Worst images" not in nothing


def test_an_image_without_labels_and_one_without_mistakes_are_described():
    image = an_image(4)
    unlabelled = dataclasses.replace(image, label=np.full_like(image.label, 255), score=None)
    right = dataclasses.replace(image, prediction=image.label % 4, label=image.label % 4)
    text = "".join(Page(page_of(an_evaluation("abcd"), [unlabelled, right])).text)
    assert "no pixel has a label" in text
    assert "50.0% of the pixels right" in text
