"""Examples that are drawn rather than read, for data sets that need no files."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

from gcnet_jax.data.examples import Examples


@dataclasses.dataclass(frozen=True)
class GeneratedExample:
    """An example that is drawn when it is loaded.

    Attributes:
        draw: returns what `load` shall, given a seed and an index.
        split: that it belongs to.
        seed: of the examples of its split.
        index: among them.
        drawn_as: in words what else decides how it looks, so that a set that was prepared of other
            pictures is prepared anew.
    """

    draw: Callable[[int, int], Any]
    split: str
    seed: int
    index: int
    drawn_as: str = ""

    @property
    def name(self) -> str:
        """The name of the example."""
        return f"{self.split}_{self.index:04d}"

    def fingerprint(self) -> str:
        """Returns what determines the example."""
        return " ".join([self.name, str(self.seed), *filter(None, [self.drawn_as])])

    def load(self) -> Any:
        """Draws the example."""
        return self.draw(self.seed, self.index)


def generated_examples(
    draw: Callable[[int, int], Any],
    sizes: Mapping[str, int],
    splits: Collection[str],
    *,
    drawn_as: str = "",
) -> Examples:
    """Returns the examples of some splits of a generated data set.

    Args:
        draw: an example, given the seed of its split and its index there.
        sizes: how many examples each split has. The position of a split is its seed.
        splits: those that are wanted.
        drawn_as: in words what else decides how examples look.
    """
    return {
        split: [GeneratedExample(draw, split, seed, index, drawn_as) for index in range(size)]
        for seed, (split, size) in enumerate(sizes.items())
        if split in splits
    }
