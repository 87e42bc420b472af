"""Networks that the server has, as work for the queue."""

from collections.abc import Sequence
from typing import Any

import jax

from gcnet_jax.analysis.attention_maps import AttentionMap, AttentionMaps, Point
from gcnet_jax.serving.network_queue import NetworkQueue, Pixels, Work
from gcnet_jax.task import ShownResult, TrainedNetwork

_BATCH = 8  # images that go through a network together


def queue_for_networks(*, places: int) -> NetworkQueue:
    """The queue before networks of JAX, which forgets compiled programs of many sizes.

    Args:
        places: most requests at a time, waiting or under way.
    """
    return NetworkQueue(places=places, batch_size=_BATCH, forget=jax.clear_caches)


class Served:
    """A network that the server has.

    Args:
        name: what people know it by.
        network: whose results are `ShownResult`.
        attention: draws maps of its context blocks, if it has any.

    Attributes:
        name: what people know it by.
        network: makes `ShownResult`s of images.
        see: sends images through the network; always the same function, see `NetworkQueue`.
        blocks: where there are context blocks.
    """

    def __init__(self, name: str, network: TrainedNetwork, attention: AttentionMaps | None = None):
        self.name = name
        self.network = network
        self.see: Work = self._see
        self.blocks = [] if attention is None else list(attention.blocks)
        self._attention = attention

    def attention_work(self, block: str, point: Point) -> Work:
        """What draws the map of one of the `blocks` for a point."""

        def work(images: Sequence[Pixels]) -> list[AttentionMap]:
            assert self._attention is not None
            return [self._attention(image, block, point) for image in images]

        return work

    def to_plain(self) -> dict[str, Any]:
        """What the page has to know of it."""
        return {"name": self.name, "blocks": self.blocks}

    def _see(self, images: Sequence[Pixels]) -> Sequence[ShownResult]:
        return self.network(list(images))
