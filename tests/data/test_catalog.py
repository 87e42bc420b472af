import pytest

from gcnet_jax.data import DatasetClasses, dataset_classes
from gcnet_jax.data.catalog import CATALOG
from gcnet_jax.data.datasets import BUILDERS
from gcnet_jax.errors import InputError


def test_every_dataset_that_can_be_prepared_has_classes_and_the_other_way_round():
    assert set(CATALOG) == set(BUILDERS)
    assert all(builder.name == name for name, builder in BUILDERS.items())


@pytest.mark.parametrize(("name", "num_classes"), [("camvid", 11), ("context_shapes", 7)])
def test_classes_are_named_and_coloured_apart(name, num_classes):
    classes = dataset_classes(name)
    assert classes.num_classes == num_classes
    assert len(set(classes.names)) == len(set(classes.palette)) == num_classes
    assert all(0 <= value <= 255 for colour in classes.palette for value in colour)


def test_an_unknown_dataset_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r"'cityscape'.*camvid, context_shapes"):
        dataset_classes("cityscape")


def test_every_class_needs_a_colour():
    with pytest.raises(ValueError, match="2 class names but 1 colours"):
        DatasetClasses(names=("a", "b"), palette=((0, 0, 0),))
