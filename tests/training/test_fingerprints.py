import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.parallel import create_mesh, over_all_devices
from gcnet_jax.training.fingerprints import document_fingerprint, fingerprints

ARRAYS = {
    "kernel": np.random.default_rng(0).normal(size=(3, 5, 8, 16)).astype(np.float32),
    "step": np.array(7, np.int32),
}


@settings(max_examples=30)
@given(st.integers(0, 3 * 5 * 8 * 16 - 1), st.integers(0, 31))
def test_any_flipped_bit_is_another_fingerprint(position, bit):
    damaged = ARRAYS["kernel"].copy()
    damaged.reshape(-1).view(np.uint32)[position] ^= np.uint32(1 << bit)
    assert fingerprints({**ARRAYS, "kernel": damaged}) != fingerprints(ARRAYS)


def test_two_flipped_signs_are_another_fingerprint():
    damaged = ARRAYS["kernel"].copy()
    damaged[0, 0, 0, :2] *= -1
    assert fingerprints({**ARRAYS, "kernel": damaged}) != fingerprints(ARRAYS)


def murmur(word):
    word = (word ^ (word >> 16)) * 0x85EBCA6B % 2**32
    word = (word ^ (word >> 13)) * 0xC2B2AE35 % 2**32
    return word ^ (word >> 16)


def test_exchanged_values_are_another_fingerprint():
    exchanged = ARRAYS["kernel"].copy()
    exchanged[..., [0, 1]] = exchanged[..., [1, 0]]
    assert fingerprints({**ARRAYS, "kernel": exchanged}) != fingerprints(ARRAYS)


def test_an_array_has_the_same_fingerprint_however_it_lies_on_devices():
    words = ARRAYS["kernel"].view(np.uint32).reshape(-1).tolist()
    expected = sum(murmur(word ^ murmur(i)) for i, word in enumerate(words)) % 2**32
    assert fingerprints(ARRAYS["kernel"]) == [expected]
    columns = np.moveaxis(ARRAYS["kernel"], -1, 0)
    spread = jax.device_put(columns, over_all_devices(create_mesh(spatial=2)))
    assert fingerprints(spread) == fingerprints(np.ascontiguousarray(columns))


def test_documents_are_told_apart_by_content_alone():
    assert document_fingerprint({"a": 1, "b": [2]}) == document_fingerprint({"b": [2], "a": 1})
    assert document_fingerprint({"a": 1}) != document_fingerprint({"a": 2})
