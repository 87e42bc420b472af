"""The files that an evaluation leaves: pictures of images and of curves, and the report page."""

from etils import epath
from ml_collections import ConfigDict

from gcnet_jax.data.picture_table import encoded
from gcnet_jax.files import write_whole
from gcnet_jax.parallel import InputShard
from gcnet_jax.tasks.detection.coco_results import write_entries
from gcnet_jax.tasks.detection.shown_images import ShownImages
from gcnet_jax.tasks.detection.split_evaluation import Evaluation
from gcnet_jax.tasks.detection.training_pictures import image_table


class ShownDetections(ShownImages):
    """The images that are shown of an evaluation, and the files that show them.

    Args:
        config: of the run.
        split: of its data set.
        shard: the part of each batch that this process has.
        count: how many are taken from all over the split, and how many of the worst.
    """

    endings = (".png", "_precision_recall.png", "_coco_results.json")

    def __init__(self, config: ConfigDict, split: str, shard: InputShard, *, count: int):
        super().__init__(config, split, shard, count=count, worst=count)

    def write(
        self,
        evaluation: Evaluation,
        config: ConfigDict,
        *,
        picture: epath.Path,
        report: epath.Path,
        command: str,
    ) -> None:
        """Writes a PNG of images with what is annotated and found, one of curves, and the report.

        Beside them go all detections in COCO's format, see `Evaluation.coco_results`.

        Args:
            evaluation: what came of it.
            config: of the run.
            picture: the PNG; that of precision by recall has its name and `_precision_recall`, the
                detections have it and `_coco_results`.
            report: the page, one HTML file.
            command: how to repeat it.
        """
        # matplotlib takes a second to import, which a training need not wait for.
        from gcnet_jax.tasks.detection.evaluation.precision_recall_picture import (
            precision_recall_picture,
        )
        from gcnet_jax.tasks.detection.report import report_page

        of_curves, of_results = (
            picture.with_name(f"{picture.stem}{ending}") for ending in self.endings[1:]
        )
        write_whole(picture, encoded(image_table(self.spread(), evaluation.classes), "PNG"))
        curves = precision_recall_picture(evaluation.precision, evaluation.classes.names)
        write_whole(of_curves, curves)
        write_entries(of_results, evaluation.coco_results())
        page = report_page(evaluation, self, config, command=command)
        write_whole(report, page)
