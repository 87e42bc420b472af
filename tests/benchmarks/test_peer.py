"""Training steps and inference beside mmsegmentation's, where that is installed."""

import json

import pytest

from benchmarks.peer import peer_device, peer_is_installed, why_no_peer
from benchmarks.peer_steps import PeerInference, PeerTraining
from gcnet_jax.errors import InputError
from gcnet_jax.tasks.configs import load_config

CONFIG = "configs/gcnet/gcnet_r50-d8_4xb2-40k_cityscapes-512x1024.py"
NARROW = (
    "--config.model.backbone.base_channels=8",
    "--config.model.decode_head.channels=8",
    "--config.model.auxiliary_head.channels=8",
    "--config.data.crop_size=(64,64)",
    "--config.training.batch_size=2",
    "--size=64,96",
    "--images=2",
    "--rounds=2",
    "--peer=openmmlab",
)
needs_peer = pytest.mark.skipif(not peer_is_installed(), reason="mmsegmentation is not installed")


@needs_peer
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("what", ["train", "inference"])
def test_the_peer_computes_the_same_and_takes_turns(root, benchmark, tmp_path, what, dtype):
    output = tmp_path / "with_peer.json"
    arguments = (f"--config={root / CONFIG}", *NARROW, f"--config.model.dtype={dtype}")
    process = benchmark(what, *arguments, f"--output={output}")
    assert process.returncode == 0, process.stderr
    ours, theirs = json.loads(output.read_text())["rows"]
    assert (ours["way"], theirs["way"]) == ("gcnet_jax", "mmsegmentation")
    assert ours["model_flops"] == theirs["model_flops"]
    first, second = (row["seconds_of_rounds"] for row in (ours, theirs))
    ratios = sorted(b / a for a, b in zip(first, second, strict=True))
    assert ours["times_as_fast_as"]["mmsegmentation"]["median"] == pytest.approx(sum(ratios) / 2)


@needs_peer
def test_a_batch_in_parts_has_no_peer(fails, root):
    says = "expected training.accumulation_steps 1, not 2"
    parts = "--config.training.accumulation_steps=2"
    fails("train", f"--config={root / CONFIG}", *NARROW, parts, says=says)


class Number(float):
    def detach(self):
        return self


def test_the_loss_compared_is_that_of_the_peers_first_step():
    class Network:
        losses = iter([Number(2.0), Number(1.0)])

        def train_step(self, data, wrapper):
            del data, wrapper
            return {"loss": next(self.losses)}

    peer = object.__new__(PeerTraining)
    peer.network, peer._wrapper, peer._planes, peer._samples = Network(), None, [], []
    peer._first_loss = None
    peer._step()
    peer._step()
    peer.check_loss(2.0)


@pytest.mark.parametrize("ours", [1.0, 2.0 * 1.06, float("nan")])
def test_another_loss_than_the_peers_is_refused(ours):
    peer = object.__new__(PeerTraining)
    peer._first_loss = Number(2.0)
    peer.check_loss(2.02)
    with pytest.raises(InputError, match=r"in mmsegmentation: they do not compute the same"):
        peer.check_loss(ours)


@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.999), ("bfloat16", 0.95)])
def test_other_classes_than_the_peers_are_refused(root, dtype, least):
    torch = pytest.importorskip("torch")
    peer = object.__new__(PeerInference)
    peer._torch, peer._config = torch, load_config(root / CONFIG)
    peer._config.model.dtype = dtype
    peer._predictions = [torch.zeros(1, 10, 1000, dtype=torch.int64)] * 2
    ours = torch.zeros(2, 10, 1000, dtype=torch.int64).numpy()
    wrong = round((1 - least) * ours.size)
    ours.reshape(-1)[: wrong - 1] = 1
    peer.check_classes(ours)
    ours.reshape(-1)[: wrong + 1] = 1
    with pytest.raises(InputError, match=r"% of the pixels go to the same class as in mmseg"):
        peer.check_classes(ours)


@needs_peer
def test_what_is_another_network_than_the_peers_is_named(root):
    config = load_config(root / CONFIG)
    assert why_no_peer(config) is None
    config.model.backbone.variant, config.model.auxiliary_head.enabled = "v1d", False
    reason = why_no_peer(config)
    assert reason.endswith("see model.backbone.variant, model.auxiliary_head.enabled")


def test_the_peer_is_on_the_kind_of_device_that_jax_has(monkeypatch):
    assert peer_device() == "cpu"
    monkeypatch.setattr("jax.default_backend", lambda: "tpu")
    with pytest.raises(InputError, match=r"JAX computes on a tpu, which this PyTorch cannot"):
        peer_device()
