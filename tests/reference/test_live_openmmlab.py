"""mmsegmentation's own networks at full width beside ours, in one process: `pytest -m openmmlab`.

Needs the extra `peer`. Both sides start from the reference's configs and ours of the same name.
"""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from benchmarks.peer import import_peer
from gcnet_jax.interop import read_torch_checkpoint, write_torch_checkpoint
from gcnet_jax.models import merge, split_for_evaluation
from gcnet_jax.parallel import create_mesh
from gcnet_jax.tasks.configs import load_config
from gcnet_jax.tasks.segmentation.build_model import build_model
from gcnet_jax.tasks.segmentation.data import DATA_SETS
from gcnet_jax.tasks.segmentation.evaluation import create_view, inference_mode, score_pixels
from gcnet_jax.tasks.segmentation.loss import head_losses
from gcnet_jax.tasks.segmentation.weights import FOREIGN
from gcnet_jax.training import (
    create_optimizer,
    create_state,
    create_train_step,
    learning_rate_schedule,
)
from tests.reference import arrays, golden_files

pytestmark = [
    pytest.mark.openmmlab,
    pytest.mark.skipif(
        importlib.util.find_spec("mmseg") is None, reason="mmsegmentation is not installed"
    ),
]

CONFIGS = Path(__file__).parents[2] / "configs" / "gcnet"
RUNS = [
    f"gcnet_{depth}-d8_{rest}"
    for depth in ("r50", "r101")
    for rest in (
        "4xb2-40k_cityscapes-512x1024",
        "4xb2-40k_cityscapes-769x769",
        "4xb4-20k_voc12aug-512x512",
    )
]
STORED = golden_files.cases("segmentors")
SHAPE = (2, 3, 65, 97)
WINDOW, STRIDE = (65, 65), (43, 43)  # for images of this size
STEPS = 10


@pytest.fixture(scope="module")
def build():
    """`build(run)`: the reference's network with random weights and statistics, our model, its
    config."""
    import_peer("mmseg")  # without the compiled operators of mmcv
    import mmseg
    import torch
    from mmengine import Config
    from mmengine.model import revert_sync_batchnorm
    from mmseg.registry import MODELS
    from mmseg.utils import register_all_modules

    register_all_modules()
    configs = Path(mmseg.__file__).parent / ".mim" / "configs" / "gcnet"

    def build_theirs(run, narrower=1):
        reference = Config.fromfile(configs / f"{run}.py").model
        reference.pretrained = None
        reference.backbone.base_channels = reference.backbone.stem_channels = 64 // narrower
        for head in (reference.decode_head, reference.auxiliary_head):
            head.dropout_ratio = 0.0
            head.channels //= narrower
            head.in_channels //= narrower
        if reference.test_cfg.mode == "slide":
            reference.test_cfg.update(crop_size=WINDOW, stride=STRIDE)
        theirs = revert_sync_batchnorm(MODELS.build(reference))
        entries = theirs.state_dict()
        theirs.load_state_dict(
            {
                name: torch.from_numpy(arrays.weight(name, tuple(x.shape)))
                for name, x in entries.items()
            }
        )
        return theirs

    def build(run):
        theirs = build_theirs(run)
        config = load_config(CONFIGS / f"{run}.py")
        config.model.decode_head.dropout_rate = config.model.auxiliary_head.dropout_rate = 0.0
        if config.evaluation.mode == "slide":
            config.evaluation.window, config.evaluation.window_stride = WINDOW, STRIDE
        classes = DATA_SETS.meaning(config.data.name).num_classes
        ours = nnx.eval_shape(lambda: build_model(config.model, num_classes=classes))
        FOREIGN.import_state_dict(
            ours, {name: x.numpy() for name, x in theirs.state_dict().items()}
        )
        return theirs, ours, config

    build.theirs = build_theirs
    return build


def batch(run, classes):
    images = arrays.normal(f"{run}/live", SHAPE)
    labels = arrays.labels(f"{run}/live/labels", (SHAPE[0], *SHAPE[2:]), classes)
    return images, labels


def to_samples(labels):
    import torch
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    samples = []
    for label in labels:
        sample = SegDataSample(metainfo={"img_shape": label.shape, "ori_shape": label.shape})
        sample.gt_sem_seg = PixelData(data=torch.from_numpy(label[None].astype(np.int64)))
        samples.append(sample)
    return samples


def our_loss(model, batch, rngs):
    images, labels = batch
    logits = model.head_logits(images, rngs=rngs)
    resized = jax.tree.map(lambda x: model.resize(x, labels.shape[1:]), logits)
    return head_losses(resized, labels)


@pytest.mark.parametrize("run", RUNS)
def test_logits_and_loss_of_the_published_networks(run, build, equivalence, tmp_path):
    import torch

    theirs, ours, config = build(run)
    images, labels = batch(run, DATA_SETS.meaning(config.data.name).num_classes)
    metas = [{"img_shape": SHAPE[2:], "ori_shape": SHAPE[2:]}] * len(images)
    with torch.no_grad():
        expected = theirs.eval().inference(torch.from_numpy(images), metas).numpy()
        losses = theirs.loss(torch.from_numpy(images), to_samples(labels))  # statistics as stored
    graphdef, variables = split_for_evaluation(ours)

    @jax.jit
    def logits_and_loss(variables, images, labels):
        model, mode = merge(graphdef, variables), inference_mode(config.evaluation)
        size, sizes = images.shape[1:3], jnp.tile(jnp.array(images.shape[1:3]), (len(images), 1))
        decoded = mode.decode(model, images, sizes)
        view = create_view(mode, model, decoded, sizes, size, sizes, size, mirrored=False)
        logits = score_pixels([view], lambda scores: scores)
        return logits, our_loss(model, (images, labels), None)

    logits, (_, metrics) = logits_and_loss(variables, images.transpose(0, 2, 3, 1), labels)
    logits = np.moveaxis(np.asarray(logits), -1, 1)
    equivalence.arrays(
        "live, full width", f"logits ({config.evaluation.mode})", run, logits, expected
    )
    for quantity, mine, other in (
        ("decode loss", metrics["decode_loss"], losses["decode.loss_ce"]),
        ("auxiliary loss", 0.4 * metrics["auxiliary_loss"], losses["aux.loss_ce"]),
    ):
        equivalence.arrays("live, full width", quantity, run, mine, other.numpy())

    # Our export is what mmsegmentation loads, strictly.
    path = tmp_path / "exported.pth"
    classes = DATA_SETS.meaning(config.data.name)
    write_torch_checkpoint(path, FOREIGN.export_state_dict(ours), FOREIGN.meaning_to_meta(classes))
    content = torch.load(path, weights_only=True)
    before = {name: x.clone() for name, x in theirs.state_dict().items()}
    theirs.load_state_dict(content["state_dict"], strict=True)
    for name, x in theirs.state_dict().items():
        assert torch.equal(x, before[name]), name
    assert FOREIGN.meaning_from_meta(read_torch_checkpoint(path).meta) == classes


@pytest.mark.parametrize("run", RUNS)
def test_gradients_and_ten_steps_of_smooth_networks(run, build, equivalence, monkeypatch):
    """With softplus for ReLU and mean for maximum on both sides: see `neighbour_that_agrees`."""
    import torch

    monkeypatch.setattr(jax.nn, "relu", jax.nn.softplus)
    monkeypatch.setattr(nnx, "max_pool", nnx.avg_pool)
    theirs, ours, config = build(run)
    for module in list(theirs.modules()):
        for name, child in module.named_children():
            if isinstance(child, torch.nn.ReLU):
                setattr(module, name, torch.nn.Softplus())
            if isinstance(child, torch.nn.MaxPool2d):
                setattr(module, name, torch.nn.AvgPool2d(3, stride=2, padding=1))
    images, labels = batch(run, DATA_SETS.meaning(config.data.name).num_classes)

    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    theirs.train()
    samples, their_losses, their_gradients = to_samples(labels), [], {}
    schedule = learning_rate_schedule(config.optimizer, STEPS)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = float(schedule(step))  # tested against PolyLR elsewhere
        losses = theirs.loss(torch.from_numpy(images), samples)
        total = losses["decode.loss_ce"] + losses["aux.loss_ce"]
        optimizer.zero_grad()
        total.backward()
        their_losses.append(total.item())
        if step == 0:
            their_gradients = {n: p.grad.numpy().copy() for n, p in theirs.named_parameters()}
        optimizer.step()

    keeping_gradients = optax.GradientTransformation(
        lambda params: jax.tree.map(jnp.zeros_like, params), lambda grads, *_: (grads, grads)
    )
    ours_optimizer = optax.chain(keeping_gradients, create_optimizer(config.optimizer, STEPS))
    mesh = create_mesh(jax.devices()[:1])
    graphdef, state = create_state(ours, ours_optimizer, mesh, seed=0)
    train_step = create_train_step(graphdef, our_loss, ours_optimizer, mesh, schedule=schedule)
    our_losses, gradients = [], {}
    for step in range(STEPS):
        state, metrics = train_step(state, (images.transpose(0, 2, 3, 1), labels))
        our_losses.append(metrics["loss"])
        if step == 0:
            nnx.update(ours, state.optimizer[0])
            gradients = FOREIGN.export_state_dict(ours)
    scale = max(np.abs(gradient).max() for gradient in their_gradients.values())
    for name, gradient in their_gradients.items():
        equivalence.arrays(
            "live, full width, smooth",
            "gradients",
            f"{run} {name}",
            gradients[name],
            gradient,
            "gradient",
            scale,
        )
    equivalence.arrays(
        "live, full width, smooth",
        "loss over ten SGD steps",
        run,
        np.array(our_losses) / np.array(their_losses),
        np.ones(STEPS),
        "training",
    )
    nnx.update(ours, state.params)
    nnx.update(ours, state.statistics)
    after = FOREIGN.export_state_dict(ours)
    for name, x in theirs.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            equivalence.arrays(
                "live, full width, smooth",
                "parameters and statistics after ten steps",
                f"{run} {name}",
                after[name],
                x.numpy(),
                "training",
            )


@pytest.mark.parametrize("run", STORED)
def test_what_float32_does_to_the_references_own_gradients(run, build, golden, equivalence):
    import torch

    case, stored = STORED[run], golden("segmentors")
    batch_size, _, height, width = case["shape"]
    images = torch.from_numpy(arrays.normal(run, case["shape"]))
    size = (batch_size, 1, height, width)
    labels = arrays.labels(f"{run}/labels", size, case["num_classes"])[:, 0]

    def gradients(dtype):
        network = build.theirs(run, narrower=64 // case["width"]).to(dtype).train()
        losses = network.loss(images.to(dtype), to_samples(labels))
        (losses["decode.loss_ce"] + losses["aux.loss_ce"]).backward()
        return {name: x.grad.numpy() for name, x in network.named_parameters()}

    single, double = gradients(torch.float32), gradients(torch.float64)
    for key in stored:
        if key.startswith(f"{run}|grad/"):
            name = key.removeprefix(f"{run}|grad/")
            # Here it computes what is stored; in double precision it may not.
            equivalence.arrays(
                "mmsegmentation here",
                "gradients, against the stored",
                f"{run} {name}",
                single[name],
                stored[key],
                "gradient",
            )
            equivalence.arrays(
                "mmsegmentation itself",
                "float32 gradients, against double precision",
                f"{run} {name}",
                stored[key],
                double[name],
                "rounding",
            )
