"""The scores of images a tile at a time, by programs that do not depend on the images' sizes."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Int32, Integer, PyTree, Shaped

from gcnet_jax.parallel import compile_for, on_each_device
from gcnet_jax.tasks.segmentation.data import ScaledImages
from gcnet_jax.tasks.segmentation.evaluation.inference import Inference, Logits
from gcnet_jax.tasks.segmentation.evaluation.pixel_scores import score_pixels

TILE = (256, 512)
"""Height and width of a tile in pixels: with 150 classes its scores take 80 MB."""

TileScorer = Callable[
    [
        PyTree,
        Logits,
        Sequence[ScaledImages],
        Integer[Array | np.ndarray, "b 2"],
        Integer[Array | np.ndarray, "b 2"],
    ],
    Shaped[Array, "b tile_h tile_w *rest"],
]


def create_tile_scorer(
    inference: Inference,
    mesh: Mesh,
    result: Callable[[Float[Array, "1 tile_h tile_w classes"]], Shaped[Array, "1 h w *rest"]],
) -> TileScorer:
    """Compiles (on first use) what follows the network, for one tile of each image of a batch.

    Args:
        inference: that made the logits.
        mesh: that batches are split over.
        result: takes the scores of a tile to what is kept of them.

    Returns:
        A function of the model's variables, a batch's logits, what `inference.decode` got, the
        (height, width) of each result, and the (row, column) where the tile of each begins, or
        (-1, -1) for an image that needs no tile now. What lies outside an image may be anything.
    """

    def score(
        variables: PyTree,
        logits: Logits,
        scaled: Sequence[ScaledImages],
        out_sizes: Integer[Array, "b 2"],
        starts: Integer[Array, "b 2"],
    ) -> Shaped[Array, "b tile_h tile_w *rest"]:
        shapes = [jax.ShapeDtypeStruct((1, *s["image"].shape[1:]), jnp.uint8) for s in scaled]

        def of_one(image: tuple) -> Shaped[Array, "tile_h tile_w *rest"]:
            logits, sizes, out_size, start = jax.tree.map(lambda x: x[None], image)
            one: Any = [{"image": i, "size": s} for i, s in zip(shapes, sizes, strict=True)]
            views = inference.views(variables, logits, one, out_size, TILE, start)
            return score_pixels(views, result)[0]

        def if_needed(image: tuple) -> Shaped[Array, "tile_h tile_w *rest"]:
            nothing = jax.eval_shape(of_one, image)
            needed = image[-1][0] >= 0
            return lax.cond(needed, of_one, lambda _: jnp.zeros_like(nothing), image)

        return lax.map(if_needed, (logits, [s["size"] for s in scaled], out_sizes, starts))

    return compile_for(mesh, on_each_device(mesh, score))


def tile_starts(sizes: Int[np.ndarray, "b 2"]) -> Int32[np.ndarray, "tiles b 2"]:
    """The (row, column) where each tile of each image begins, in the order of rows.

    Args:
        sizes: (height, width) of each image; (0, 0) has no tile.

    Returns:
        As many tiles as the image with most of them has, (-1, -1) where another has fewer.
    """
    of_each = [
        [(y, x) for y in range(0, height, TILE[0]) for x in range(0, width, TILE[1])]
        for height, width in sizes.tolist()
    ]
    starts = np.full((max(map(len, of_each)), len(sizes), 2), -1, np.int32)
    for i, of_image in enumerate(of_each):
        starts[: len(of_image), i] = np.reshape(of_image, (-1, 2))
    return starts
