"""How images of many sizes are put together."""

from hypothesis import given
from hypothesis import strategies as st

from gcnet_jax.tasks.segmentation.config import default_config
from gcnet_jax.tasks.segmentation.data import scaled_sizes
from gcnet_jax.tasks.segmentation.prediction_plan import plan_groups

sides = st.integers(1, 5000)


@given(
    sizes=st.lists(st.tuples(sides, sides), min_size=1, max_size=60),
    multi_scale=st.booleans(),
    devices=st.sampled_from((1, 2, 8)),
    pixels=st.integers(1, 2**24),
    most=st.integers(1, 5),
)
def test_every_image_has_one_place_that_is_large_enough(sizes, multi_scale, devices, pixels, most):
    config = default_config()
    named = {3 * i: size for i, size in enumerate(sizes)}
    groups = plan_groups(
        named,
        config,
        multi_scale=multi_scale,
        devices=devices,
        pixels_at_once=pixels,
        max_groups=most,
    )
    assert sorted(member for group in groups for member in group.members) == list(named)
    assert len(groups) <= most
    for group in groups:
        for member in group.members:
            scaled = scaled_sizes(named[member], config, multi_scale=multi_scale)
            for (height, width), (rows, columns) in zip(scaled, group.shapes, strict=True):
                assert height <= rows
                assert width <= columns
                assert (rows % 32, columns % 32) == (0, 0)  # so that similar sizes share a program
        batches = -(-len(group.members) // group.batch_size)
        assert batches * group.batch_size - len(group.members) < batches * group.devices
        assert group.devices == (devices if len(group.members) >= devices else 1)
        assert group.batch_size % group.devices == 0
        area = max(rows * columns for rows, columns in group.shapes)
        assert group.batch_size == group.devices or (
            group.batch_size // group.devices * area <= pixels
        )


def groups_of(sizes, *, most=4):
    return plan_groups(
        dict(enumerate(sizes)),
        default_config(),
        multi_scale=False,
        devices=1,
        pixels_at_once=2**22,
        max_groups=most,
    )


def test_a_program_is_compiled_for_images_that_are_worth_it():
    portraits, landscapes = [(400, 300)] * 15, [(300, 400)] * 15
    assert len(groups_of(portraits[:8] + landscapes[:8])) == 1
    assert len(groups_of(portraits + landscapes)) == 2
    assert len(groups_of(10 * (portraits + landscapes))) == 2


def test_images_of_one_size_fill_their_batches():
    (group,) = groups_of([(512, 1024)] * 100)
    assert group.batch_size == 2
    assert group.shapes == [(1024, 2048)]
