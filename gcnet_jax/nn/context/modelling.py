"""Context modelling, the first step: what is gathered from all positions, and how it is weighted.

Sources: the average of Hu et al., "Squeeze-and-Excitation Networks" (2018); the attention of Cao et
al. (2019), equation 3; the pairwise weights of Wang et al., "Non-local Neural Networks" (2018),
section 3.2, whose names (theta, phi, g) are used.
"""

from typing import ClassVar, Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, DTypeLike, Float, Int

from gcnet_jax.errors import InputError
from gcnet_jax.nn.checks import check_choice, check_compute_dtype, check_count
from gcnet_jax.nn.context.framework import Mask
from gcnet_jax.nn.convolution import he_normal_fan_out
from gcnet_jax.nn.initialization import Normal, VarianceScaling, zeros

Mode = Literal["embedded_gaussian", "gaussian", "dot_product", "concatenation"]

_he_fan_in = VarianceScaling(2.0, "fan_in", "normal")
_normal = Normal(0.01)

QUERIES_AT_ONCE = 256
"""Most rows of the matrix of all pairs that exist at one time, for each image."""


class AveragePooling(nnx.Module):
    """The plain mean over all positions."""

    query_independent: ClassVar[bool] = True
    is_distribution: bool = True

    def __call__(
        self, x: Float[Array, "b *spatial c"], mask: Mask = None
    ) -> Float[Array, "b *one c"]:
        """The mean over all spatial axes, which keep size one."""
        where = None if mask is None else mask[..., None]
        return jnp.mean(x, axis=tuple(range(1, x.ndim - 1)), keepdims=True, where=where)

    def weights(
        self,
        x: Float[Array, "b *spatial c"],
        queries: Int[Array, " q"] | None = None,
        mask: Mask = None,
    ) -> Float[Array, "b *spatial"]:
        """Returns equal weights, that sum to one, for all positions."""
        del queries
        equal = jnp.ones(x.shape[:-1]) if mask is None else mask.astype(jnp.float32)
        return equal / jnp.sum(equal, axis=tuple(range(1, equal.ndim)), keepdims=True)


class AttentionPooling(nnx.Module):
    """A weighted mean over all positions, the same for every query."""

    query_independent: ClassVar[bool] = True
    is_distribution: bool = True

    def __init__(self, channels: int, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        check_count("channels", channels)
        check_compute_dtype(dtype)
        self.score = nnx.Linear(
            channels, 1, kernel_init=_he_fan_in, bias_init=zeros, dtype=dtype, rngs=rngs
        )

    def __call__(
        self, x: Float[Array, "b *spatial c"], mask: Mask = None
    ) -> Float[Array, "b *one c"]:
        """The mean under the attention map; spatial axes keep size one."""
        batch, *spatial, channels = x.shape
        weights = self.weights(x, mask=mask).reshape(batch, -1).astype(x.dtype)
        context = jnp.einsum("bn,bnc->bc", weights, x.reshape(batch, -1, channels))
        return context.reshape(batch, *(1 for _ in spatial), channels)

    def weights(
        self,
        x: Float[Array, "b *spatial c"],
        queries: Int[Array, " q"] | None = None,
        mask: Mask = None,
    ) -> Float[Array, "b *spatial"]:
        """The attention map: non-negative, summing to one over all positions of an image."""
        del queries
        scores = self.score(x)[..., 0].astype(jnp.float32)
        return jax.nn.softmax(scores, axis=tuple(range(1, scores.ndim)), where=mask)


class PairwiseAttention(nnx.Module):
    """For every query a weighted mean of embedded keys, under weights of its own.

    The matrix of all pairs never exists as a whole: it is made, used and made again for the
    gradient in blocks of `QUERIES_AT_ONCE` queries, so that memory grows with the positions and
    not with their square.

    Args:
        channels: channels of the features.
        inner_channels: of the embeddings, and of the context.
        mode: how a query and a key are weighted. `embedded_gaussian` and `gaussian` take a softmax
            over the keys, `dot_product` and `concatenation` divide by their number.
        use_scale: whether the embedded Gaussian divides the scores by the square root of
            `inner_channels`; the other modes don't look at it.
        sub_sample: whether keys are max-pooled by two along height and width first.
        dtype: dtype of the computation; the softmax is always taken in float32.

    Raises:
        InputError: an unknown mode, a count below one, or a dtype of no floats.
    """

    query_independent: ClassVar[bool] = False

    def __init__(
        self,
        channels: int,
        inner_channels: int,
        *,
        mode: Mode,
        use_scale: bool,
        sub_sample: bool,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_count("channels", channels)
        check_count("inner_channels", inner_channels)
        check_choice("mode", mode, get_args(Mode))
        check_choice("use_scale", use_scale, (False, True))
        check_choice("sub_sample", sub_sample, (False, True))
        check_compute_dtype(dtype)

        def embedding() -> nnx.Linear:
            return nnx.Linear(
                channels,
                inner_channels,
                kernel_init=_normal,
                bias_init=zeros,
                dtype=dtype,
                rngs=rngs,
            )

        self.theta = self.phi = self.project = nnx.data(None)
        if mode != "gaussian":
            self.theta, self.phi = embedding(), embedding()
        if mode == "concatenation":
            self.project = nnx.Linear(
                2 * inner_channels,
                1,
                use_bias=False,
                kernel_init=he_normal_fan_out,
                dtype=dtype,
                rngs=rngs,
            )
        self.g = embedding()
        self.mode = mode
        self.is_distribution = mode in ("embedded_gaussian", "gaussian")
        self.use_scale = use_scale
        self.sub_sample = sub_sample

    def __call__(
        self, x: Float[Array, "b *spatial c"], mask: Mask = None
    ) -> Float[Array, "b *spatial inner"]:
        """The weighted mean that every position gathers."""
        queries, keys = self._embed(x)
        values, key_mask = _flat(self._sampled(self.g(x))), self._key_mask(mask)

        def gather(queries: Float[Array, "b some c"]) -> Float[Array, "b some inner"]:
            weights = self._weights(queries, keys, key_mask).astype(values.dtype)
            return jnp.einsum("bqk,bkc->bqc", weights, values)

        return _in_blocks(gather, queries).reshape(*x.shape[:-1], -1)

    def weights(
        self,
        x: Float[Array, "b *spatial c"],
        queries: Int[Array, " q"] | None = None,
        mask: Mask = None,
    ) -> Float[Array, "b q *keys"]:
        """The weight of every key for the given queries (positions in row-major order), or all."""
        embedded, keys = self._embed(x)
        if queries is not None:
            embedded = embedded[:, queries]
        key_axes = jax.eval_shape(self._sampled, x).shape[1:-1]
        weights = self._weights(embedded, keys, self._key_mask(mask))
        return weights.reshape(*embedded.shape[:2], *key_axes)

    def _embed(
        self, x: Float[Array, "b *spatial c"]
    ) -> tuple[Float[Array, "b queries c"], Float[Array, "b keys c"]]:
        queries = _flat(x if self.theta is None else self.theta(x))
        keys = _flat(self._sampled(x if self.phi is None else self.phi(x)))
        if self.project is None:
            return queries, keys
        # A linear layer on [query, key] is the sum of one on the query and one on the key: the
        # concatenated pairs never need to exist.
        of_query, of_key = jnp.split(self.project.kernel[...].astype(queries.dtype), 2)
        return queries @ of_query, keys @ of_key

    def _weights(
        self,
        queries: Float[Array, "b q c"],
        keys: Float[Array, "b k c"],
        key_mask: Bool[Array, "b 1 k"] | None,
    ) -> Float[Array, "b q k"]:
        if self.mode == "concatenation":
            return _shared_out(jax.nn.relu(queries + jnp.swapaxes(keys, 1, 2)), key_mask)
        scores = jnp.einsum("bqc,bkc->bqk", queries, keys, preferred_element_type=jnp.float32)
        if self.mode == "dot_product":
            return _shared_out(scores, key_mask)
        if self.mode == "embedded_gaussian" and self.use_scale:
            scores = scores / queries.shape[-1] ** 0.5
        return jax.nn.softmax(scores, axis=-1, where=key_mask)

    def _key_mask(self, mask: Mask) -> Bool[Array, "b 1 k"] | None:
        """A pooled key is there if all that it is pooled from is: pooling drops what is left."""
        if mask is None:
            return None
        present = mask[..., None]
        if self.sub_sample:
            window = self._pooling_window(mask.ndim - 1)
            present = nnx.min_pool(present.astype(jnp.float32), window, strides=window) > 0
        return present.reshape(mask.shape[0], 1, -1)

    def _sampled(self, x: Float[Array, "b *spatial c"]) -> Float[Array, "b *keys c"]:
        if not self.sub_sample:
            return x
        window = self._pooling_window(x.ndim - 2)
        if any(size < extent for size, extent in zip(x.shape[1:-1], window, strict=True)):
            raise InputError(
                f"features have the spatial axes {x.shape[1:-1]}; sub_sample needs 2 or more on "
                f"each that it pools, by {window}"
            )
        return nnx.max_pool(x, window, strides=window)

    def _pooling_window(self, spatial_axes: int) -> tuple[int, ...]:
        return (1, 2, 2) if spatial_axes == 3 else (2,) * spatial_axes  # time stays whole


def _shared_out(
    scores: Float[Array, "b q k"], key_mask: Bool[Array, "b 1 k"] | None
) -> Float[Array, "b q k"]:
    """Scores divided by the number of keys; none for keys that are not there."""
    if key_mask is None:
        return scores / scores.shape[-1]
    return jnp.where(key_mask, scores, 0) / jnp.sum(key_mask, axis=-1, keepdims=True)


def _flat(x: Float[Array, "b *spatial c"]) -> Float[Array, "b positions c"]:
    return x.reshape(x.shape[0], -1, x.shape[-1])


def _in_blocks(gather, queries: Float[Array, "b queries c"]) -> Float[Array, "b queries inner"]:
    """`gather(queries)`, for some queries after the other; nothing of it is kept for gradients."""
    batch, count, channels = queries.shape
    if count <= QUERIES_AT_ONCE:
        return gather(queries)
    blocks = -(-count // QUERIES_AT_ONCE)
    size = -(-count // blocks)  # as even as can be: hardly anything is padded
    padded = jnp.pad(queries, ((0, 0), (0, blocks * size - count), (0, 0)))
    # A block takes every so-many-th query: positions that lie split over devices stay split.
    split = jnp.moveaxis(padded.reshape(batch, size, blocks, channels), 2, 0)
    gathered = jnp.moveaxis(lax.map(jax.checkpoint(gather), split), 0, 2)
    return gathered.reshape(batch, blocks * size, -1)[:, :count]
