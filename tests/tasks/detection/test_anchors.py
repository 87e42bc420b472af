import jax.numpy as jnp
import numpy as np

from gcnet_jax.tasks.detection.boxes.anchors import anchors, within_border, within_padding


def test_anchors_lie_around_multiples_of_the_stride_row_by_row():
    ours = anchors((2, 3), 16, scale=4.0, ratios=(1.0, 4.0))
    assert ours.shape == (12, 4)
    np.testing.assert_array_equal(ours[0], [-32, -32, 32, 32])
    np.testing.assert_array_equal(ours[1], [-16, -64, 16, 64])
    np.testing.assert_array_equal(ours[2], [16 - 32, -32, 16 + 32, 32])
    np.testing.assert_array_equal(ours[6], [-32, 16 - 32, 32, 16 + 32])


def test_positions_count_whose_cell_begins_within_the_padded_image():
    flags = within_padding((4, 5), 16, jnp.array([33, 64]), anchors_per_position=2)
    expected = np.zeros((4, 5, 2), bool)
    expected[:3, :4] = True
    np.testing.assert_array_equal(flags, expected.reshape(-1))


def test_an_image_larger_than_the_map_has_all_positions():
    assert within_padding((2, 2), 16, jnp.array([999, 999])).all()


def test_the_border_itself_is_inside_below_and_outside_above():
    boxes = jnp.array([[0, 0, 9, 9], [-1, 0, 9, 9], [0, 0, 20, 9], [0, 0, 19, 10], [0, 0, 19.5, 9]])
    size = jnp.array([10, 20])
    np.testing.assert_array_equal(within_border(boxes, size, 0), [True, False, False, False, True])
    np.testing.assert_array_equal(within_border(boxes, size, 1), [True] * 5)
    np.testing.assert_array_equal(within_border(boxes, size, -1), [True] * 5)
