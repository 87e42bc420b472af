"""From images of any size to the class of each of their pixels."""

import collections
import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int32, PyTree, UInt8
from ml_collections import ConfigDict
from PIL import Image

from gcnet_jax.data import (
    displayed_size,
    read_displayed_size,
    resize_image,
)
from gcnet_jax.errors import InputError
from gcnet_jax.files import as_path
from gcnet_jax.parallel import batch_shardings, create_mesh, place, replicated
from gcnet_jax.task import ArrayShapes, TrainedModel
from gcnet_jax.tasks.segmentation.data import DatasetClasses, ScaledImages, scaled_sizes
from gcnet_jax.tasks.segmentation.evaluation import (
    TILE,
    Inference,
    Logits,
    NetworkInference,
    create_tile_scorer,
    tile_starts,
)
from gcnet_jax.tasks.segmentation.prediction_plan import ANY_SHAPES, Group, Size, plan_groups
from gcnet_jax.tasks.segmentation.result import SegmentationResult
from gcnet_jax.tasks.trained_network import ImageInput, pixels_of

_R = TypeVar("_R")

_MAX_THREADS = 16
_BATCHES_IN_FLIGHT = 2
_PIXELS_AT_ONCE = {"cpu": 2**20}
_PIXELS_AT_ONCE_OF_OTHERS = 2**22


class Predictor:
    """Segments images with one network, on all devices of this process.

    Images are read, and resized for the network, in threads beside it. They go through it in
    batches of similar sizes, for which at most `evaluation.max_buckets` programs are compiled, and
    each comes out as it would alone. Classes are found on the devices, a tile at a time: scores of
    a whole image never exist, unless `scores` is called.

    Args:
        network: the model's structure in evaluation mode, from `split_for_evaluation`; or what
            takes the place of the model, of one device.
        variables: of the model.
        classes: what its logits mean.
        config: of the run.
        multi_scale: whether to average over `evaluation.scales`, each with its mirror image.
        shapes: of the arrays that images lie in.
    """

    def __init__(
        self,
        network: nnx.GraphDef | Inference,
        variables: PyTree,
        classes: DatasetClasses,
        config: ConfigDict,
        *,
        multi_scale: bool = False,
        shapes: ArrayShapes = ANY_SHAPES,
    ):
        self._classes = classes
        self._config = config
        self._multi_scale = multi_scale
        self._shapes = shapes
        self._devices = jax.local_devices()[: 1 if isinstance(network, Inference) else None]
        self._network_on = functools.cache(
            lambda devices: _Network(
                network,
                variables,
                config.evaluation,
                create_mesh(self._devices[:devices]),
                mirrored_too=multi_scale,
            )
        )

    @classmethod
    def of(
        cls, trained: TrainedModel, config: ConfigDict, *, multi_scale: bool = False
    ) -> "Predictor":
        """What segments images with a trained model, on the devices of this process alone."""
        variables = jax.tree.map(lambda x: x.addressable_data(0), trained.variables)
        return cls(trained.graphdef, variables, trained.meaning, config, multi_scale=multi_scale)

    @property
    def palette(self) -> dict[str, tuple[int, int, int]]:
        """The RGB colour of each class by its name."""
        return dict(zip(self._classes.names, self._classes.palette, strict=True))

    def segment(
        self,
        images: Sequence[ImageInput],
        *,
        with_scores: bool = False,
        compiling: Callable[[int, int], None] = lambda nth, of: None,
    ) -> Iterator[tuple[int, SegmentationResult | InputError]]:
        """Yields the index of each image with its result, those of similar sizes one after another.

        Args:
            images: paths are read when their turn comes, and not kept in memory.
            with_scores: whether each result keeps its scores, `4 * classes` bytes a pixel; without,
                `scores()` of a result sends its image through the network once more.
            compiling: is called with `(nth, of)` before the nth of so many sizes of images goes
                through the network for the first time, which takes as long as to compile it.

        Yields:
            For an image that cannot be read the error that says so, in place of the result.
        """
        with ThreadPoolExecutor(min(os.cpu_count() or 1, _MAX_THREADS)) as pool:
            said = list(pool.map(_size, images))
            sizes = {index: size for index, size in enumerate(said) if size is not None}
            others: dict[int, Size] = {}  # that turn out to have another size than was said
            for index, size in enumerate(said):
                if size is None:
                    try:
                        others[index] = _shape(self._pixels(images[index]))
                    except InputError as error:
                        yield index, error
            most = self._config.evaluation.max_buckets
            for known, max_groups in ((sizes, most), (others, 1)):
                groups = self._plan(known, max_groups) if known else []
                for nth, group in enumerate(groups, start=1):
                    if self._network_on(group.devices).is_new(group):
                        compiling(nth, len(groups))
                    batches = self._run(group, images, known, others, pool)
                    for found in batches:
                        if isinstance(found, _Batch):
                            yield from self._results(found, with_scores=with_scores)
                        else:
                            yield found

    def results(self, images: Sequence[ImageInput]) -> list[SegmentationResult]:
        """The result of each image, in their order.

        Raises:
            InputError: one of them cannot be read.
        """
        results: dict[int, SegmentationResult] = {}
        for index, found in self.segment(images):
            if isinstance(found, InputError):
                raise found
            results[index] = found
        return [results[index] for index in range(len(images))]

    def scores(self, image: ImageInput) -> Float[np.ndarray, "h w classes"]:
        """The float32 score of every class at every pixel of an image.

        Scores are logits, of the image resized to `data.base_scale` in its own aspect. With
        `multi_scale` they are class probabilities: the mean over `evaluation.scales`, relative to
        the image's own size, as it is and mirrored.

        Raises:
            InputError: it is no image.
        """
        pixels = self._pixels(image)
        (group,) = self._plan({0: _shape(pixels)}, 1)
        batch = self._network_on(1).start([self._prepared(0, pixels, group)], group)
        return next(iter(batch.scores()))

    def _plan(self, sizes: Mapping[int, Size], max_groups: int) -> list[Group]:
        platform = self._devices[0].platform
        return plan_groups(
            sizes,
            self._config,
            multi_scale=self._multi_scale,
            devices=len(self._devices),
            pixels_at_once=_PIXELS_AT_ONCE.get(platform, _PIXELS_AT_ONCE_OF_OTHERS),
            max_groups=max_groups,
            shapes=self._shapes,
        )

    def _run(
        self,
        group: Group,
        images: Sequence[ImageInput],
        sizes: Mapping[int, Size],
        others: dict[int, Size],
        pool: Executor,
    ) -> Iterator["_Batch | tuple[int, InputError]"]:
        """Yields each batch of a group while the next is under way, and what cannot be read."""

        def load(index: int) -> "_Prepared | InputError | Size":
            try:
                pixels = self._pixels(images[index])
            except InputError as error:
                return error
            size = _shape(pixels)
            return self._prepared(index, pixels, group) if size == sizes[index] else size

        network = self._network_on(group.devices)
        under_way: collections.deque[_Batch] = collections.deque()
        batch: list[_Prepared] = []
        loaded = _ahead(pool, load, group.members, ahead=2 * group.batch_size + 2)
        for index, found in zip(group.members, loaded, strict=True):
            if isinstance(found, InputError):
                yield index, found
            elif isinstance(found, _Prepared):
                batch.append(found)
            elif sizes is others:
                yield index, InputError(f"{images[index]} changes while it is read")
            else:
                others[index] = found
            if len(batch) == group.batch_size:
                under_way.append(network.start(batch, group))
                batch = []
            if len(under_way) == _BATCHES_IN_FLIGHT:
                yield under_way.popleft()
        if batch:
            under_way.append(network.start(batch, group))
        yield from under_way

    def _results(
        self, batch: "_Batch", *, with_scores: bool
    ) -> Iterator[tuple[int, SegmentationResult]]:
        if with_scores:
            for image, scores in zip(batch.images, batch.scores(), strict=True):
                label = scores.argmax(-1).astype(np.uint8)
                kept = functools.partial(_kept, scores)
                yield image.index, SegmentationResult(image.pixels, label, self._classes, kept)
            return
        for image, label in zip(batch.images, batch.labels(), strict=True):
            result = SegmentationResult(image.pixels, label, self._classes, self.scores)
            yield image.index, result

    def _pixels(self, image: ImageInput) -> UInt8[np.ndarray, "h w 3"]:
        return pixels_of(image, max_pixels=self._config.data.max_image_pixels)

    def _prepared(
        self, index: int, pixels: UInt8[np.ndarray, "h w 3"], group: Group
    ) -> "_Prepared":
        scaled = []
        sizes = scaled_sizes(_shape(pixels), self._config, multi_scale=self._multi_scale)
        for (height, width), shape in zip(sizes, group.shapes, strict=True):
            array = np.zeros((*shape, 3), np.uint8)
            array[:height, :width] = resize_image(pixels, (height, width))
            scaled.append({"image": array, "size": np.array([height, width], np.int32)})
        return _Prepared(index, pixels, scaled)


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """An image and what the network sees of it: at each scale an array and its size within it."""

    index: int
    pixels: UInt8[np.ndarray, "h w 3"]
    scaled: list[dict[str, np.ndarray]]


class _Network:
    """A network on some devices, with the programs compiled for them."""

    def __init__(
        self,
        network: nnx.GraphDef | Inference,
        variables: PyTree,
        config: ConfigDict,
        mesh: Mesh,
        *,
        mirrored_too: bool,
    ):
        self.mesh = mesh
        self.variables = place(variables, jax.tree.map(lambda _: replicated(mesh), variables))
        if not isinstance(network, Inference):
            network = NetworkInference(network, config, mirrored_too=mirrored_too, mesh=mesh)
        self._inference = network
        self.labels_of = create_tile_scorer(
            self._inference, mesh, lambda scores: jnp.argmax(scores, axis=-1).astype(jnp.uint8)
        )
        self.scores_of = create_tile_scorer(
            self._inference, mesh, lambda scores: scores.astype(jnp.float32)
        )
        self._seen: set[tuple[int, tuple[Size, ...]]] = set()

    def is_new(self, group: Group) -> bool:
        """Whether nothing of the group's shapes has gone through yet."""
        return (group.batch_size, tuple(group.shapes)) not in self._seen

    def start(self, images: list[_Prepared], group: Group) -> "_Batch":
        """Sends a batch through the network; waits for nothing but to compile it."""
        self._seen.add((group.batch_size, tuple(group.shapes)))
        scaled: list[ScaledImages] = []
        for number, shape in enumerate(group.shapes):
            array = np.zeros((group.batch_size, *shape, 3), np.uint8)
            size = np.zeros((group.batch_size, 2), np.int32)
            for row, image in enumerate(images):
                array[row], size[row] = image.scaled[number].values()
            scaled.append({"image": array, "size": size})
        scaled = self.put(scaled)
        out_sizes = np.zeros((group.batch_size, 2), np.int32)
        out_sizes[: len(images)] = [image.pixels.shape[:2] for image in images]
        logits = self._inference.decode(self.variables, scaled)
        return _Batch(images, logits, scaled, out_sizes, self)

    def put(self, tree: Any) -> Any:
        """Splits arrays of a batch over the devices."""
        return jax.device_put(tree, batch_shardings(tree, self.mesh, ("image",)))


@dataclasses.dataclass(frozen=True)
class _Batch:
    """Images on their way through a network."""

    images: list[_Prepared]
    logits: Logits
    scaled: list[ScaledImages]
    out_sizes: Int32[np.ndarray, "b 2"]
    network: _Network

    def labels(self) -> list[UInt8[np.ndarray, "h w"]]:
        """The classes of each image's pixels, once they are computed."""
        return self._joined(self.network.labels_of)

    def scores(self) -> list[Float[np.ndarray, "h w classes"]]:
        """The scores of each image's pixels, once they are computed."""
        return self._joined(self.network.scores_of)

    def _joined(self, score: Callable[..., Array]) -> list[np.ndarray]:
        """Each image put together from its tiles."""
        joined: list[np.ndarray] = []
        out_sizes = self.network.put(self.out_sizes)
        for starts in tile_starts(self.out_sizes):
            tiles = np.asarray(
                score(
                    self.network.variables,
                    self.logits,
                    self.scaled,
                    out_sizes,
                    self.network.put(starts),
                )
            )
            if not joined:
                sizes = self.out_sizes[: len(self.images)].tolist()
                joined = [np.empty((h, w, *tiles.shape[3:]), tiles.dtype) for h, w in sizes]
            for image, tile, (row, column) in zip(joined, tiles, starts.tolist(), strict=False):
                if row >= 0:
                    part = image[row : row + TILE[0], column : column + TILE[1]]
                    part[...] = tile[: part.shape[0], : part.shape[1]]
        return joined


def _kept(
    scores: Float[np.ndarray, "h w classes"], image: UInt8[np.ndarray, "h w 3"]
) -> Float[np.ndarray, "h w classes"]:
    """The scores of an image that were computed before."""
    del image
    return scores


def _shape(pixels: UInt8[np.ndarray, "h w 3"]) -> Size:
    return pixels.shape[0], pixels.shape[1]


def _size(image: Any) -> Size | None:
    """The (height, width) of an image as far as it can be told before it is read."""
    if isinstance(image, str | os.PathLike):
        return read_displayed_size(as_path(image))
    if isinstance(image, Image.Image):
        return displayed_size(image)
    shape = getattr(image, "shape", ())
    return (shape[0], shape[1]) if len(shape) == 3 and 0 not in shape else None


def _ahead(
    pool: Executor, function: Callable[[int], _R], items: Iterable[int], *, ahead: int
) -> Iterator[_R]:
    """Yields `function` of each item in order, computed in threads, of no more than so many."""
    items = iter(items)
    futures = collections.deque(pool.submit(function, x) for x in itertools.islice(items, ahead))
    while futures:
        result = futures.popleft().result()
        futures.extend(pool.submit(function, x) for x in itertools.islice(items, 1))
        yield result
