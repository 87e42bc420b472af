import contextlib
import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from gcnet_jax.errors import InputError
from gcnet_jax.models import frozen_parameters
from gcnet_jax.parallel import create_mesh
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.segmentation.data import DatasetClasses
from gcnet_jax.tasks.segmentation.task import TASK as segmentation
from gcnet_jax.training.program import ProgramMemory, TrainingProgram


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


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_no_step_moves_a_parameter_of_a_frozen_stage_and_each_moves_all_others(config, name):
    """Of norms and biases too; weight decay alone would."""
    config.model.backbone.base_channels, config.model.backbone.num_stages = 8, 2
    config.model.backbone.frozen_stages = config.model.decode_head.stage = 1
    config.model.decode_head.channels = 8
    config.optimizer.update(name=name, weight_decay=0.1, warmup_steps=0)
    config.training.batch_size, config.data.crop_size = 2, (32, 32)
    mesh = create_mesh(jax.devices()[:1])
    program = TrainingProgram(segmentation, config, DatasetClasses.numbered(7), mesh)
    model = program.fresh_model()
    frozen = frozen_parameters(model)
    before = paths_to_arrays(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    state, batch = program.initial_state(model), program.random_batch()
    for _ in range(2):
        state, _ = program.step(state, batch)
    after = paths_to_arrays(state.params)
    assert {path for path in after if np.array_equal(after[path], before[path])} == frozen
    assert any(path.endswith(("bias", "scale")) for path in frozen)


def test_batches_of_several_shapes_have_a_program_each_before_the_first_step(config):
    config.model.backbone.base_channels = config.model.decode_head.channels = 8
    config.training.batch_size = 2

    def samples(config, classes, rng):
        crops = [config.copy_and_resolve_references() for _ in range(2)]
        for crop, size in zip(crops, [(64, 32), (32, 48)], strict=True):
            crop.data.crop_size = size
        return [segmentation.random_samples(crop, classes, rng)[0] for crop in crops]

    task = dataclasses.replace(segmentation, random_samples=samples)
    mesh, stages = create_mesh(jax.devices()[:1]), []

    def stage(name):
        stages.append(name)
        return contextlib.nullcontext()

    program = TrainingProgram(task, config, DatasetClasses.numbered(7), mesh)
    compiled = program.compile(stage)
    assert stages == [
        f"{doing} for {size}"
        for size in ("64x32, 1 of 2", "32x48, 2 of 2")
        for doing in ("tracing", "compiling")
    ]
    assert compiled.memory.peak == max(ProgramMemory.of(x).peak for x in compiled.programs.values())
    state = program.initial_state()
    for shapes in program.batches:
        batch = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
        state, _ = compiled.run(state, batch)
    assert int(state.step) == 2
    with pytest.raises(RuntimeError, match=r"the shapes \(\(2, 32, 32, 3\).* and "):
        compiled.run(state, {**batch, "image": batch["image"][:, :, :32]})


def paths_to_arrays(tree):
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(x)
        for path, x in jax.tree.leaves_with_path(tree)
    }
