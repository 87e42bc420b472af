"""Convolutions are differentiated, mapped and taken apart by JAX as those of `jax.lax` are."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jax.test_util import check_grads

from gcnet_jax.ops import conv_general_dilated
from gcnet_jax.parallel import create_mesh

WIDE = 64
"""Channels from which CPUs compute 3x3 convolutions with fewer multiplications."""
KINDS = {
    "1x1": (1, 1, 4, 1),
    "3x3 by tiles": (3, 1, WIDE, 1),
    "3x3 by tiles, dilated": (3, 2, WIDE, 1),
    "3x3, dilated": (3, 2, 4, 1),
    "3x3 in groups": (3, 2, 4, 2),
}
"""Size of the kernel, dilation, channels and groups, by as many of which outputs are apart."""
every_kind = pytest.mark.parametrize(
    "kind", ["1x1", "3x3 by tiles, dilated", "3x3, dilated", "3x3 in groups"]
)


def case(kind, *, seed=0, mapped=()):
    """The convolution, the one of `jax.lax`, an input and a kernel; with leading axes `mapped`."""
    size, dilation, channels, groups = KINDS[kind]
    rng = np.random.default_rng(seed)
    x, kernel = (
        jnp.asarray(rng.standard_normal((*mapped, *shape)), jnp.float32)
        for shape in (
            (2, 7, 8, channels),
            (size, size, channels // groups, channels + groups),
        )
    )
    convolutions = [
        functools.partial(
            convolve,
            window_strides=(groups, groups),
            padding=[(dilation * (size // 2),) * 2] * 2,
            rhs_dilation=(dilation, dilation),
            feature_group_count=groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        for convolve in (conv_general_dilated, lax.conv_general_dilated)
    ]
    return *convolutions, x, kernel


def loss(convolve):
    return lambda x, kernel: jnp.mean(jnp.sin(convolve(x, kernel)))


def check(derivatives, own, of_lax, *arguments):
    """Computes `derivatives(convolve, *arguments)` of both convolutions, and returns their own."""

    @jax.jit
    def both(*arguments):
        return tuple(derivatives(convolve, *arguments) for convolve in (own, of_lax))

    actual, expected = both(*arguments)
    jax.tree.map(assert_as_near_as_rounding, actual, expected)
    return actual


def assert_as_near_as_rounding(actual, expected):
    assert actual.shape == expected.shape
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=5e-5 * max(np.abs(expected).max(), 1e-2)
    )


def operations(function, *arguments, platform):
    """All convolutions and matrix products of a program, without the names of their operands."""
    text = jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
    found = re.findall(r"stablehlo\.((?:convolution|dot_general)\b.*)", text)
    return sorted(re.sub(r"%\w+", "", operation) for operation in found)


@every_kind
def test_tangents_are_those_of_lax(kind):
    own, of_lax, x, kernel = case(kind)
    _, _, dx, dkernel = case(kind, seed=1)

    def tangents(f, x, kernel):
        return {
            "by both": jax.jvp(f, (x, kernel), (dx, dkernel)),
            "by the input": jax.jvp(lambda x: f(x, kernel), (x,), (dx,)),
            "by the kernel": jax.jvp(lambda kernel: f(x, kernel), (kernel,), (dkernel,)),
        }

    check(tangents, own, of_lax, x, kernel)


@pytest.mark.parametrize("kind", ["1x1", "3x3, dilated"])
def test_derivatives_of_the_second_order_are_differences_of_those_of_the_first(kind):
    own, _, x, kernel = case(kind)
    check_grads(own, (x[:, :3, :3], kernel), order=2, modes=("fwd", "rev"), rtol=2e-2, atol=2e-2)


@every_kind
def test_products_of_a_hessian_and_a_vector_are_those_of_lax_in_whatever_modes(kind):
    own, of_lax, *at = case(kind)
    _, _, *direction = case(kind, seed=1)

    def products(convolve, *at):
        gradient = jax.grad(loss(convolve), (0, 1))

        def slope(*at):
            return sum(jnp.vdot(g, d) for g, d in zip(gradient(*at), direction, strict=True))

        def tangent(*at):
            return jax.jvp(loss(convolve), at, tuple(direction))[1]

        return (
            jax.jvp(gradient, at, tuple(direction))[1],
            jax.grad(slope, (0, 1))(*at),
            jax.grad(tangent, (0, 1))(*at),
        )

    forward_over_reverse, *others = check(products, own, of_lax, *at)
    for other in others:
        jax.tree.map(assert_as_near_as_rounding, other, forward_over_reverse)


@every_kind
def test_jacobians_are_those_of_lax_in_both_modes(kind):
    own, of_lax, x, kernel = case(kind)

    def jacobians(convolve, some, row):
        def of_some(some, row):
            result = convolve(x.at[0, :1, :2, :2].set(some), kernel.at[0, 0, :1].set(row))
            return result[0, :2, :2, :2]

        return [jacobian(of_some, (0, 1))(some, row) for jacobian in (jax.jacfwd, jax.jacrev)]

    check(jacobians, own, of_lax, x[0, :1, :2, :2], kernel[0, 0, :1])


@pytest.mark.parametrize("kind", ["1x1", "3x3 by tiles, dilated"])
@pytest.mark.parametrize("axes", [(0, None), (None, 0), (1, 2)])
def test_mapped_gradients_and_gradients_of_what_is_mapped_are_those_of_lax(kind, axes):
    own, of_lax, x, kernel = case(kind, mapped=(3,))
    x, kernel = (
        of_all[0] if axis is None else jnp.moveaxis(of_all, 0, axis)
        for of_all, axis in zip((x, kernel), axes, strict=True)
    )

    def gradients(convolve, x, kernel):
        def of_mapped(x, kernel):
            return jnp.sum(jax.vmap(loss(convolve), axes)(x, kernel))

        mapped = jax.vmap(jax.grad(loss(convolve), (0, 1)), axes)
        return mapped(x, kernel), jax.grad(of_mapped, (0, 1))(x, kernel)

    check(gradients, own, of_lax, x, kernel)


@pytest.mark.parametrize("kind", ["1x1", "3x3 by tiles, dilated"])
def test_maps_of_maps_are_those_of_lax(kind):
    own, of_lax, x, kernel = case(kind, mapped=(2, 2))

    def gradients(convolve, x, kernel):
        of_one = jax.grad(loss(convolve), (0, 1))
        return jax.vmap(jax.vmap(of_one, (0, 0)), (0, None))(x, kernel)

    check(gradients, own, of_lax, x, kernel[0])


@every_kind
def test_maps_over_nothing_are_empty(kind):
    own, _, x, kernel = case(kind, mapped=(0,))
    gradient = jax.vmap(jax.grad(loss(own), (0, 1)), (0, None))
    of_inputs, of_kernels = jax.eval_shape(gradient, x, jnp.zeros(kernel.shape[1:]))
    assert of_inputs.shape == x.shape
    assert of_kernels.shape == kernel.shape


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_what_is_mapped_over_examples_is_still_computed_as_the_platform_does(platform):
    own, _, x, kernel = case("3x3 by tiles", mapped=(3,))
    of_examples = jax.vmap(jax.grad(loss(own), (0, 1)), (0, None))
    expected = "dot_general" if platform == "cpu" else "convolution"
    found = operations(of_examples, x, kernel[0], platform=platform)
    assert all(operation.startswith(expected) for operation in found)


def forward(convolve):
    return lambda *at: jax.jvp(loss(convolve), at, at)


def reverse(convolve):
    return jax.value_and_grad(loss(convolve), (0, 1))


@pytest.mark.parametrize("platform", ["cuda", "tpu", "rocm"])
@pytest.mark.parametrize("kind", ["3x3 by tiles", "3x3, dilated", "3x3 in groups"])
@pytest.mark.parametrize("mode", [forward, reverse])
def test_accelerators_get_the_convolutions_of_lax(platform, kind, mode):
    own, of_lax, x, kernel = case(kind)
    found, expected = (
        operations(mode(convolve), x, kernel, platform=platform) for convolve in (own, of_lax)
    )
    if (platform, kind, mode) == ("cuda", "3x3, dilated", reverse):
        # All but the gradient by the kernel, which is computed by phases there.
        assert len(found) == len(expected) == 3
        assert len(set(found) & set(expected)) == 2
    else:
        assert found == expected


def test_a_cpu_gets_the_gradient_by_a_kernel_in_groups_from_matrix_products():
    # XLA takes hundreds of times as long for a convolution in groups of the batch.
    own, _, x, kernel = case("3x3 in groups")
    found = operations(jax.grad(loss(own), 1), x, kernel, platform="cpu")
    assert sum(operation.startswith("dot_general") for operation in found) == 9
    assert not any("batch_group_count = 2" in operation for operation in found)


def test_one_exported_program_serves_several_platforms():
    own, of_lax, x, kernel = case("3x3 by tiles")
    actual, expected = (jax.jit(jax.grad(loss(convolve), (0, 1))) for convolve in (own, of_lax))
    exported = export.export(actual, platforms=("cpu", "cuda", "tpu"))(x, kernel)
    jax.tree.map(assert_as_near_as_rounding, exported.call(x, kernel), expected(x, kernel))


@pytest.mark.parametrize("kind", ["1x1", "3x3 by tiles, dilated"])
def test_devices_that_share_a_kernel_add_its_gradient_up(kind):
    own, of_lax, x, kernel = case(kind)
    split, whole = PartitionSpec("data"), PartitionSpec()

    def gradients(convolve):
        return jax.grad(lambda *at: jnp.sum(jnp.sin(convolve(*at))), (0, 1))

    on_each = jax.shard_map(
        gradients(own),
        mesh=create_mesh(jax.devices()[:2]),
        in_specs=(split, whole),
        out_specs=(split, whole),
    )
    jax.tree.map(
        assert_as_near_as_rounding,
        jax.jit(on_each)(x, kernel),
        jax.jit(gradients(of_lax))(x, kernel),
    )


@pytest.mark.parametrize("kind", ["1x1", "3x3, dilated"])
def test_gradients_of_arrays_whose_types_are_split_are_those_of_lax(kind):
    own, of_lax, x, kernel = case(kind)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,))
    x, kernel = (
        jax.device_put(array, NamedSharding(mesh, spec))
        for array, spec in ((x, PartitionSpec("data")), (kernel, PartitionSpec()))
    )
    with jax.set_mesh(mesh):
        check(lambda convolve, *at: jax.grad(loss(convolve), (0, 1))(*at), own, of_lax, x, kernel)


@pytest.mark.parametrize("kind", ["1x1", "3x3 by tiles, dilated"])
def test_derivatives_in_loops_and_of_what_is_computed_again_are_those_of_lax(kind):
    own, of_lax, x, kernel = case(kind)

    def derivatives(convolve, x, kernel):
        @functools.partial(jax.checkpoint, policy=jax.checkpoint_policies.dots_saveable)
        def layer(x, kernel):
            return jnp.sin(convolve(x, kernel))

        def several(kernel):
            kernels = jnp.stack([kernel, -kernel])
            result, _ = lax.scan(lambda x, kernel: (layer(x, kernel), None), x, kernels)
            return jnp.mean(result**2)

        return jax.jvp(several, (kernel,), (kernel,)), jax.grad(several)(kernel)

    check(derivatives, own, of_lax, x, kernel[..., :-1] / kernel.shape[-1])


@pytest.mark.parametrize("kind", ["1x1", "3x3, dilated"])
def test_gradients_are_computed_in_the_precision_that_held_for_the_convolution(kind):
    own, _, x, kernel = case(kind)

    def function(x, kernel):
        with jax.default_matmul_precision("highest"):
            return loss(own)(x, kernel)

    gradients = jax.jit(jax.grad(function, (0, 1)))
    found = operations(gradients, x, kernel, platform="tpu")
    assert len(found) == 3
    assert all(operation.count("HIGHEST") == 2 for operation in found)


def test_kernels_of_another_type_are_refused_as_by_lax():
    own, of_lax, x, kernel = case("1x1")
    for convolve in (own, of_lax):
        with pytest.raises(TypeError, match="same dtype"):
            convolve(x, kernel.astype(jnp.bfloat16))
