"""The non-local block: every position gathers from all others, each with weights of its own.

Source: Wang et al., "Non-local Neural Networks" (2018); mmcv's `NonLocal1d`, `NonLocal2d` and
`NonLocal3d`, which this block equals. Names (theta, phi, g) are the paper's.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from gcnet_jax.errors import InputError
from gcnet_jax.nn.convolution import he_normal_fan_out

Mode = Literal["embedded_gaussian", "gaussian", "dot_product", "concatenation"]

_normal = nnx.initializers.normal(0.01)


class NonLocal(nnx.Module):
    """The non-local block on features with one, two or three spatial axes.

    Args:
        channels: channels of the features.
        mode: how the affinity of a query and a key is computed. `embedded_gaussian` and `gaussian`
            take a softmax over the keys, `dot_product` and `concatenation` divide by their number.
        reduction: the embeddings have `channels // reduction` channels, at least one.
        use_scale: whether the embedded Gaussian divides the scores by the square root of the
            embedding's channels; the other modes don't look at it.
        sub_sample: whether keys and values are max-pooled by two along height and width first.
        dtype: dtype of the computation; the softmax is always taken in float32.

    Raises:
        InputError: an unknown mode.
    """

    def __init__(
        self,
        channels: int,
        *,
        mode: Mode = "embedded_gaussian",
        reduction: int = 2,
        use_scale: bool = True,
        sub_sample: bool = False,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if mode not in get_args(Mode):
            raise InputError(f"mode is {mode!r}; expected one of {get_args(Mode)}")
        inner = max(channels // reduction, 1)

        def embedding() -> nnx.Linear:
            return nnx.Linear(channels, inner, kernel_init=_normal, dtype=dtype, rngs=rngs)

        self.theta = self.phi = self.project = nnx.data(None)
        if mode != "gaussian":
            self.theta, self.phi = embedding(), embedding()
        if mode == "concatenation":
            self.project = nnx.Linear(
                2 * inner,
                1,
                use_bias=False,
                kernel_init=he_normal_fan_out,
                dtype=dtype,
                rngs=rngs,
            )
        self.g = embedding()
        # Zero, so that the block starts as the identity.
        self.out = nnx.Linear(
            inner, channels, kernel_init=nnx.initializers.zeros, dtype=dtype, rngs=rngs
        )
        self.mode = mode
        self.use_scale = use_scale
        self.sub_sample = sub_sample

    def __call__(self, x: Float[Array, "b *spatial c"]) -> Float[Array, "b *spatial c"]:
        """Adds to every position the weighted mean that it gathers."""
        values = self._flat_keys(self.g(x))
        gathered = jnp.einsum("bqk,bkc->bqc", self.affinity(x).astype(values.dtype), values)
        return x + self.out(gathered.reshape(*x.shape[:-1], -1))

    def affinity(self, x: Float[Array, "b *spatial c"]) -> Float[Array, "b queries keys"]:
        """The weight of every key for every query, positions in row-major order."""
        queries = x if self.theta is None else self.theta(x)
        queries = queries.reshape(x.shape[0], -1, queries.shape[-1])
        keys = self._flat_keys(x if self.phi is None else self.phi(x))
        if self.project is not None:
            # A linear layer on [query, key] is the sum of one on the query and one on the key:
            # the concatenated pairs never need to exist.
            of_query, of_key = jnp.split(self.project.kernel[...].astype(queries.dtype), 2)
            scores = jax.nn.relu(queries @ of_query + jnp.swapaxes(keys @ of_key, 1, 2))
        else:
            scores = jnp.einsum("bqc,bkc->bqk", queries, keys)
        if self.mode in ("dot_product", "concatenation"):
            return scores / keys.shape[1]
        scores = scores.astype(jnp.float32)
        if self.mode == "embedded_gaussian" and self.use_scale:
            scores = scores / queries.shape[-1] ** 0.5
        return jax.nn.softmax(scores, axis=-1)

    def _flat_keys(self, x: Float[Array, "b *spatial c"]) -> Float[Array, "b keys c"]:
        if self.sub_sample:
            spatial_axes = x.ndim - 2
            window = (1, 2, 2) if spatial_axes == 3 else (2,) * spatial_axes  # time stays whole
            x = nnx.max_pool(x, window, strides=window)
        return x.reshape(x.shape[0], -1, x.shape[-1])
