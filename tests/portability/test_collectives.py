import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcnet_jax.parallel import batch_sharding, create_mesh, replicated
from tests.collectives import Collective, carrying, read_collectives, summarize

HEAD = "HloModule jit_step, is_scheduled=true, num_partitions=8"


def program(*instructions, loop="", trips='"known_trip_count":{"n":"5"}'):
    """The text of a program as XLA prints it, with one loop around `loop`."""
    return f"""{HEAD}

%body.1 (p: (s32[], f32[4])) -> (s32[], f32[4]) {{
  %p = (s32[], f32[4]{{0}}) parameter(0)
  {loop or "%x = f32[4]{0} negate(%y)"}
  ROOT %t = (s32[], f32[4]{{0}}) tuple(%i, %x)
}}

ENTRY %main.2 (a: f32[64,3]) -> f32[64,3] {{
  %a = f32[64,3]{{1,0}} parameter(0)
  {"  ".join(line + chr(10) for line in instructions)}
  %w = (s32[], f32[4]{{0}}) while(%t0), condition=%c.1, body=%body.1, backend_config={{{trips}}}
  ROOT %r = f32[64,3]{{1,0}} copy(%a)
}}
"""


def only(*instructions, **loop):
    (collective,) = read_collectives(program(*instructions, **loop))
    return collective


ALL = "replica_groups=[1,8]<=[8], use_global_device_ids=true, to_apply=%sum"


def test_several_arrays_of_one_all_reduce_are_added_up():
    reduced = only(
        f"%r1 = (f32[64,3]{{1,0}}, /*index=1*/bf16[10]{{0}}, f32[]) all-reduce(%a, %b, %c), {ALL}"
    )
    assert reduced == Collective(
        "all-reduce", 64 * 3 * 4 + 10 * 2 + 4, 3, 8, 1, ("f32[64,3]", "bf16[10]", "f32[]")
    )
    assert reduced.sent_bytes == 2 * 7 / 8 * reduced.bytes


@pytest.mark.parametrize(
    ("groups", "size"),
    [
        ("[2,4]<=[8]", 4),
        ("[4,2]<=[2,4]T(1,0)", 2),
        ("{{0,2,4},{1,3,5}}", 3),
        ("{}", 8),
        ("mesh['axis_0'=4,'axis_1'=2] {'axis_1'}", 2),
        ("mesh['axis_0'=4,'axis_1'=2] {'axis_0', 'axis_1'}", 8),
        ("mesh['axis_0'=8] {'axis_0':(2)4}", 4),
    ],
)
def test_every_way_to_write_groups_is_read(groups, size):
    line = f"%r1 = f32[8]{{0}} all-reduce(%a), replica_groups={groups}, to_apply=%sum"
    assert only(line).group == size


def test_groups_written_in_another_way_are_not_guessed():
    with pytest.raises(ValueError, match="groups of devices cannot be read"):
        only("%r1 = f32[8]{0} all-reduce(%a), replica_groups=everyone, to_apply=%sum")


def test_a_group_of_one_exchanges_nothing():
    line = "%r1 = f32[8]{0} all-reduce(%a), replica_groups={{0},{1}}, to_apply=%sum"
    assert read_collectives(program(line)) == []


@pytest.mark.parametrize(
    ("line", "kind", "size", "sent"),
    [
        (f"%g = f32[64,3]{{1,0}} all-gather(%a), dimensions={{0}}, {ALL}", "all-gather", 768, 672),
        (
            f"%g = (f32[8,3]{{1,0}}, f32[64,3]{{1,0}}) all-gather-start(%a), {ALL}",
            "all-gather",
            768,
            672,
        ),
        (f"%s = f32[8,3]{{1,0}} reduce-scatter(%a), {ALL}", "reduce-scatter", 768, 672),
        (f"%r = f32[64,3]{{1,0}} all-reduce-start(%a), {ALL}", "all-reduce", 768, 1344),
        (
            "%p = f32[2,3]{1,0} collective-permute(%a), source_target_pairs={{0,1},{1,2}}",
            "collective-permute",
            24,
            24,
        ),
        (
            "%p = (f32[2,3]{1,0}, f32[2,3]{1,0}, u32[], u32[]) collective-permute-start(%a), "
            "source_target_pairs={{0,1},{1,2}}",
            "collective-permute",
            24,
            24,
        ),
    ],
)
def test_bytes_are_those_of_the_whole_array(line, kind, size, sent):
    collective = only(line)
    assert (collective.kind, collective.bytes, collective.sent_bytes) == (kind, size, sent)


def test_the_end_of_one_in_the_background_is_not_another():
    start = f"%s = f32[8]{{0}} all-reduce-start(%a), {ALL}"
    assert len(read_collectives(program(start, "%d = f32[8]{0} all-reduce-done(%s)"))) == 1


def test_the_pieces_of_one_that_goes_on_behind_others_are_one():
    """As TPUs write it: with the layout of tiles, the same channel in several computations."""
    line = f"%g.{{}} = bf16[3,3,64,64]{{{{3,2,1,0:T(8,128)(2,1)S(1)}}}} all-gather(%a), {ALL}"
    pieces = [line.format(n) + f", channel_id={channel}" for n, channel in enumerate([18, 18, 19])]
    found = read_collectives(program(*pieces))
    assert [collective.bytes for collective in found] == [2 * 9 * 64 * 64] * 2


def test_one_in_a_loop_counts_as_often_as_the_loop_runs():
    in_loop = only(loop=f"%x = f32[4]{{0}} all-reduce(%y), {ALL}")
    assert (in_loop.bytes, in_loop.times, in_loop.total_bytes) == (16, 5, 80)
    with pytest.raises(ValueError, match="unknown length"):
        only(loop=f"%x = f32[4]{{0}} all-reduce(%y), {ALL}", trips="")


@given(st.lists(st.integers(1, 1000), min_size=1), st.floats(0.01, 1))
def test_the_fewest_that_carry_a_share(sizes, share):
    given = [Collective("all-reduce", size, 1, 8, 1, ()) for size in sizes]
    kept = carrying(given, share)
    assert sum(c.bytes for c in kept) >= share * sum(sizes) - 1e-6
    assert sum(c.bytes for c in kept[:-1]) < share * sum(sizes)
    assert min(c.bytes for c in kept) == sorted(sizes)[-len(kept)]


def test_three_steps_of_descent_over_eight_devices_reduce_the_gradient_three_times():
    mesh = create_mesh()
    rows, whole = batch_sharding(mesh), replicated(mesh)

    def loss(weights, x):
        return jnp.mean((x @ weights) ** 2)

    def descend(weights, x):
        def step(weights, _):
            return weights - jax.grad(loss)(weights, x), None

        return jax.lax.scan(step, weights, length=3)[0]

    shapes = (jax.ShapeDtypeStruct((50, 7), jnp.float32), jax.ShapeDtypeStruct((64, 50), "float32"))
    step = jax.jit(descend, in_shardings=(whole, rows), out_shardings=whole)
    found = read_collectives(step.lower(*shapes).compile().as_text())
    assert summarize(found) == {
        "all-reduce": {
            "collectives": len(found),
            "times": 3,
            "bytes": 3 * 50 * 7 * 4,
            "sent_bytes": 3 * 50 * 7 * 4 * 2 * 7 / 8,
        }
    }
