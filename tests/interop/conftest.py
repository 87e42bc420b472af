import pytest

from gcnet_jax.interop import read_torch_checkpoint


@pytest.fixture
def read(tmp_path):
    """Reads bytes as a file `x.pth`."""

    def read(content):
        (tmp_path / "x.pth").write_bytes(content)
        return read_torch_checkpoint(tmp_path / "x.pth")

    return read
