import jax
import pytest

from gcnet_jax.errors import InputError
from gcnet_jax.parallel import create_mesh
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.segmentation.data import DatasetClasses
from gcnet_jax.tasks.segmentation.task import TASK as segmentation
from gcnet_jax.training.program import TrainingProgram


@pytest.fixture
def config(root):
    config = load_config(root / "configs" / "context_shapes" / "gcnet.py")
    config.model.decode_head.channels = 64
    return config


@pytest.mark.parametrize("fsdp", [False, True])
@pytest.mark.parametrize("spatial", [1, 4])
def test_shapes_lie_on_the_mesh_as_the_arrays_of_a_run_do(config, spatial, fsdp):
    config.parallel.spatial, config.parallel.fsdp = spatial, fsdp
    program = TrainingProgram(segmentation, config, DatasetClasses.numbered(7))
    arrays = (program.initial_state(), program.random_batch())
    assert jax.tree.structure(arrays) == jax.tree.structure(program.shapes)
    for array, shape in zip(jax.tree.leaves(arrays), jax.tree.leaves(program.shapes), strict=True):
        assert (array.shape, array.dtype) == (shape.shape, shape.dtype)
        assert array.sharding.is_equivalent_to(shape.sharding, array.ndim)
    whole = [x.sharding.is_fully_replicated for x in jax.tree.leaves(program.shapes[0].params)]
    assert all(whole) != fsdp


def test_what_does_not_split_is_refused(config):
    config.training.batch_size = 12
    with pytest.raises(InputError, match=r"training.batch_size is 12.*of 8"):
        TrainingProgram(segmentation, config, DatasetClasses.numbered(7))
    config.training.batch_size, config.data.crop_size = 16, (60, 128)
    with pytest.raises(InputError, match=r"the image of a training batch has the height 60"):
        TrainingProgram(segmentation, config, DatasetClasses.numbered(7), create_mesh(spatial=2))
