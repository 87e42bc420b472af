"""The files that an evaluation leaves: a picture of some images, and the report page."""

from etils import epath
from ml_collections import ConfigDict

from gcnet_jax.files import write_whole
from gcnet_jax.tasks.segmentation.shown_images import ShownImages
from gcnet_jax.tasks.segmentation.split_evaluation import Evaluation


class ShownSegmentations(ShownImages):
    """The images that are shown of an evaluation, and the files that show them."""

    endings = (".png",)

    def write(
        self,
        evaluation: Evaluation,
        config: ConfigDict,
        *,
        picture: epath.Path,
        report: epath.Path,
        command: str,
    ) -> None:
        """Writes a PNG of images, labels and predictions, and the report page.

        Args:
            evaluation: what came of it.
            config: of the run.
            picture: the PNG.
            report: the page, one HTML file.
            command: how to repeat it.
        """
        # matplotlib takes a second to import, which a training need not wait for.
        from gcnet_jax.tasks.picture_rows import save_examples
        from gcnet_jax.tasks.segmentation.report import report_page

        examples = [image.pictures(evaluation.classes.palette) for image in self.spread()]
        save_examples(picture, examples, evaluation.classes.legend)
        write_whole(report, report_page(evaluation, self, config, command=command))
