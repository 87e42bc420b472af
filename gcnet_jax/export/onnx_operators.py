"""Operators of ONNX that JAX has none for, as operators of JAX that jax2onnx can convert.

They have shapes and no implementation: they stand in programs that are converted, where they take
the place of what says the same in operators of JAX, mostly in loops. jax2onnx takes rules for
operators that it does not know; what it offers for that are the two names that `register` imports.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jaxtyping import Array, Bool, Float, Int

_LEAST = float(np.finfo(np.float32).min)


def roi_align(
    features: Float[Array, "b c h w"],
    boxes: Float[Array, "r 4"],
    images: Int[Array, "r"],
    *,
    stride: int,
    bins: int,
) -> Float[Array, "r c bins bins"]:
    """Returns the features of boxes (x1, y1, x2, y2), as many samples a bin as it covers positions.

    Args:
        features: a map, channels first.
        boxes: in pixels of the network's input.
        images: which of the batch each box lies in.
        stride: pixels of the input in a position of the map.
        bins: along both sides of the result.
    """
    return _roi_align.bind(features, boxes, images, stride=stride, bins=bins)


def non_maximum_suppression(
    boxes: Float[Array, "b n 4"], scores: Float[Array, "b c n"], *, threshold: float, limit: int
) -> Bool[Array, "b c n"]:
    """Returns which boxes no better one of their class that is kept overlaps.

    Args:
        boxes: (x1, y1, x2, y2).
        scores: of the classes; equal ones count by index, and what has -inf is not there.
        threshold: intersection over union.
        limit: how many are kept of a class, the best first.
    """
    return _suppression.bind(boxes, scores, threshold=threshold, limit=limit)


def max_pool(
    x: Float[Array, "b c *spatial"],
    *,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
) -> Float[Array, "b c *_spatial"]:
    """Returns the maxima in windows, of what is not padding."""
    return _max_pool.bind(x, window=window, strides=strides, padding=padding)


_roi_align = Primitive("onnx_roi_align")
_suppression = Primitive("onnx_non_maximum_suppression")
_max_pool = Primitive("onnx_max_pool")


@_roi_align.def_abstract_eval
def _(features: Any, boxes: Any, images: Any, *, stride: int, bins: int) -> ShapedArray:
    del images, stride
    return ShapedArray((boxes.shape[0], features.shape[1], bins, bins), features.dtype)


@_suppression.def_abstract_eval
def _(boxes: Any, scores: Any, *, threshold: float, limit: int) -> ShapedArray:
    del boxes, threshold, limit
    return ShapedArray(scores.shape, np.dtype(bool))


@_max_pool.def_abstract_eval
def _(x: Any, *, window: Any, strides: Any, padding: Any) -> ShapedArray:
    lengths = [
        (length + sum(border) - size) // stride + 1
        for length, size, stride, border in zip(x.shape[2:], window, strides, padding, strict=True)
    ]
    return ShapedArray((*x.shape[:2], *lengths), x.dtype)


def register() -> None:
    """Tells jax2onnx, which is installed, how the operators are converted."""
    from jax2onnx.plugins.plugin_system import (  # pyright: ignore[reportMissingImports]
        PrimitiveLeafPlugin,
        register_primitive,
    )

    def rule_by(convert: Callable[..., Any]) -> type:
        class Rule(PrimitiveLeafPlugin):
            def lower(self, ctx: Any, eqn: Any) -> None:
                (out,) = eqn.outvars
                result = convert(ctx.builder, *map(ctx.get_value_for_var, eqn.invars), **eqn.params)
                expected = ctx.get_value_for_var(out)
                result.type, result.shape = expected.type, expected.shape
                ctx.bind_value_for_var(out, result)

        return Rule

    register_primitive(jaxpr_primitive=_roi_align.name)(rule_by(_converted_roi_align))
    register_primitive(jaxpr_primitive=_suppression.name)(rule_by(_converted_suppression))
    register_primitive(jaxpr_primitive=_max_pool.name)(rule_by(_converted_max_pool))


def _converted_roi_align(
    builder: Any, features: Any, boxes: Any, images: Any, *, stride: int, bins: int
) -> Any:
    import onnx_ir  # pyright: ignore[reportMissingImports]

    return builder.RoiAlign(
        features,
        boxes,
        builder.Cast(images, to=int(onnx_ir.DataType.INT64)),
        mode="avg",
        coordinate_transformation_mode="half_pixel",
        output_height=bins,
        output_width=bins,
        sampling_ratio=0,
        spatial_scale=1 / stride,
    )


def _converted_suppression(
    builder: Any, boxes: Any, scores: Any, *, threshold: float, limit: int
) -> Any:
    import onnx_ir  # pyright: ignore[reportMissingImports]

    def constant(value: Any) -> Any:
        return builder.add_initializer_from_array(builder.fresh_name("constant"), value)

    def filled(shape: Any, value: bool) -> Any:
        return builder.ConstantOfShape(shape, value=onnx_ir.tensor(np.array([value])))

    # It says which are kept in a list of (image, class, box), whose length differs.
    kept = builder.NonMaxSuppression(
        boxes,
        scores,
        constant(np.array([limit], np.int64)),
        constant(np.array([threshold], np.float32)),
        constant(np.array([_LEAST], np.float32)),
    )
    nothing = filled(builder.Shape(scores), False)
    return builder.ScatterND(nothing, kept, filled(builder.Shape(kept, end=1), True))


def _converted_max_pool(builder: Any, x: Any, *, window: Any, strides: Any, padding: Any) -> Any:
    pads = [low for low, _ in padding] + [high for _, high in padding]
    return builder.MaxPool(x, kernel_shape=window, strides=strides, pads=pads)
