import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from gcnet_jax.ops import normalize_images
from gcnet_jax.parallel import create_mesh, shard_batch
from gcnet_jax.tasks.segmentation.build_model import build_model, model_config
from gcnet_jax.tasks.segmentation.loss import segmentation_loss
from gcnet_jax.training import create_state, create_train_step


def on(mesh, batch):
    return shard_batch(batch, mesh, ("image", "label"))


def test_the_loss_falls_on_a_batch_seen_again_and_again(make_setup, batch):
    _, state, step, _ = make_setup()
    losses = []
    for _ in range(60):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.8 * losses[0]
    assert int(state.step) == 60


def test_training_in_bfloat16_follows_training_in_float32(make_setup, batch):
    losses = []
    for dtype in ("float32", "bfloat16"):
        _, state, step, _ = make_setup(dtype=dtype, dropout=0.0)
        for _ in range(5):
            state, metrics = step(state, batch)
        assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
        losses.append(float(metrics["loss"]))
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_the_batch_is_split_and_the_state_is_not(make_setup, batch):
    mesh = create_mesh(jax.devices()[:4])
    _, state, step, _ = make_setup(mesh)
    sharded = on(mesh, batch)
    assert {s.data.shape[0] for s in sharded["image"].addressable_shards} == {2}
    state, _ = step(state, sharded)
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state))


def test_accumulation_averages_the_gradients_of_its_parts(make_setup, batch):
    """Against a second computation: each part alone, its gradients averaged by hand."""
    graphdef, state, step, optimizer = make_setup(accumulation_steps=2, dropout=0.0)
    params, statistics = state.params, state.statistics
    loss_function = segmentation_loss(0.4)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient_of(params, statistics, examples):
        model = nnx.merge(graphdef, params, statistics, copy=True)
        loss, _ = loss_function(model, examples, nnx.Rngs(0))
        return loss, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    gradients = []
    for part in range(2):
        examples = jax.tree.map(lambda x, part=part: x[part::2], batch)
        gradient, statistics = gradient_of(params, statistics, examples)
        gradients.append(gradient)
    mean = jax.tree.map(lambda a, b: (a + b) / 2, *gradients)
    updates, _ = optimizer.update(mean, state.optimizer, params)
    expected = optax.apply_updates(params, updates)

    new_state, metrics = step(state, batch)
    for path, leaf in jax.tree.leaves_with_path(expected):
        actual = new_state.params
        for key in path:
            actual = actual[key.key]
        np.testing.assert_allclose(actual, leaf, rtol=1e-3, atol=1e-5)
    for a, b in zip(
        jax.tree.leaves(new_state.statistics), jax.tree.leaves(statistics), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(metrics["gradient_norm"], optax.tree.norm(mean), rtol=1e-3)


def test_dropout_depends_on_seed_and_step_alone(make_setup, batch):
    def losses(seed):
        _, state, step, _ = make_setup(dropout=0.5, seed=seed)
        state = jax.tree.map(jnp.copy, state)
        return [float(step(jax.tree.map(jnp.copy, state), batch)[1]["loss"]) for _ in range(2)]

    first, again = losses(0)
    assert first == again
    assert losses(1)[0] != first


def test_the_callers_model_survives_training(batch):
    config = model_config("gcnet_r18-d16")
    config.backbone.base_channels = config.decode_head.channels = 8
    config.auxiliary_head.enabled = False
    model = build_model(config, num_classes=4)
    optimizer, mesh = optax.sgd(0.1), create_mesh(jax.devices()[:1])
    graphdef, state = create_state(model, optimizer, mesh, seed=0)
    step = create_train_step(
        graphdef, segmentation_loss(), optimizer, mesh, schedule=lambda step: 0.1
    )
    step(state, batch)
    assert np.isfinite(np.asarray(model.backbone.stem[0].conv.kernel[...])).all()


def test_the_old_state_is_given_away(make_setup, batch):
    _, state, step, _ = make_setup()
    state = jax.tree.map(jnp.copy, state)
    step(state, batch)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))


def test_padding_reaches_the_network_as_zeros(make_setup, batch):
    """The same as normalising the image proper and padding it with zeros afterwards."""
    graphdef, state, _, _ = make_setup(dropout=0.0)
    batch["size"][:] = (16, 20)

    @jax.jit
    def loss_of(params, statistics, batch):
        model = nnx.merge(graphdef, params, statistics, copy=True)
        return segmentation_loss(0.4)(model, batch, nnx.Rngs(0))[0]

    @jax.jit
    def logits_of(params, statistics, images):
        model = nnx.merge(graphdef, params, statistics, copy=True)
        logits = model.head_logits(images, rngs=nnx.Rngs(0))
        return [model.resize(x, (24, 32)) for x in logits]

    padded = np.zeros((8, 24, 32, 3), np.float32)
    padded[:, :16, :20] = normalize_images(batch["image"][:, :16, :20])

    def mean_loss(logits):
        log_probabilities = jax.nn.log_softmax(logits)
        kept = batch["label"] != 255
        picked = np.take_along_axis(
            np.asarray(log_probabilities), np.where(kept, batch["label"], 0)[..., None], -1
        )
        return -(picked[..., 0] * kept).mean()

    decode, auxiliary = logits_of(state.params, state.statistics, padded)
    loss = loss_of(state.params, state.statistics, batch)
    np.testing.assert_allclose(loss, mean_loss(decode) + 0.4 * mean_loss(auxiliary), rtol=1e-5)


@functools.cache
def temporary_bytes(remat_stages):
    """Of the compiled step of a network whose residual blocks are most of its memory."""
    config = model_config("gcnet_r50-d8")
    config.backbone.base_channels = 8
    config.backbone.num_stages = 2
    config.backbone.remat_stages = remat_stages
    config.decode_head.stage, config.decode_head.channels = 1, 8
    config.auxiliary_head.enabled = False
    mesh, optimizer = create_mesh(jax.devices()[:1]), optax.sgd(0.1)
    graphdef, state = create_state(build_model(config, num_classes=4), optimizer, mesh, seed=0)
    step = create_train_step(
        graphdef, segmentation_loss(0.4), optimizer, mesh, schedule=lambda step: 0.1
    )
    batch = {
        "image": jax.ShapeDtypeStruct((2, 96, 128, 3), np.uint8),
        "label": jax.ShapeDtypeStruct((2, 96, 128), np.uint8),
        "size": jax.ShapeDtypeStruct((2, 2), np.int32),
    }
    return step.lower(state, batch).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("remat_stages", "share"),
    [
        pytest.param((0,), 0.85, marks=pytest.mark.campaign),
        pytest.param((1,), 0.9, marks=pytest.mark.campaign),
        pytest.param((0, 1), 0.7, marks=pytest.mark.campaign),
    ],
)
def test_stages_that_are_computed_again_need_less_memory(remat_stages, share):
    assert temporary_bytes(remat_stages) < share * temporary_bytes(())
