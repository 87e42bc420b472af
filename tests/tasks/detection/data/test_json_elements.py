"""Reading the arrays of a large JSON object element by element."""

import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gcnet_jax.errors import InputError
from gcnet_jax.tasks.detection.data.sources import json_elements
from gcnet_jax.tasks.detection.data.sources.json_elements import read_elements

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=40)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(st.text(max_size=6), values, max_size=3),
    st.lists(values, max_size=6),
    st.lists(values, max_size=6),
    st.sampled_from([None, 1, "\t"]),
    st.booleans(),
    st.integers(1, 90),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_elements_come_whole_and_in_order_wherever_chunks_end(
    tmp_path, monkeypatch, others, first, second, indent, ascii_, chunk
):
    monkeypatch.setattr(json_elements, "_CHUNK", chunk)
    path = tmp_path / "x.json"
    document = {"first": first, **others, "second": second}
    document |= {"first": first, "second": second}
    path.write_text(
        json.dumps(document, indent=indent, ensure_ascii=ascii_), "utf-8", "surrogatepass"
    )
    found, other, read = [], [], []
    try:
        path.read_text("utf-8")
    except UnicodeDecodeError:
        with pytest.raises(InputError, match="is no JSON of annotations"):
            read_elements(path, {"first": found.append, "second": other.append})
        return
    read_elements(path, {"first": found.append, "second": other.append}, read.append)
    assert (found, other) == (first, second)
    assert sum(read) == len(path.read_text("utf-8"))


@pytest.mark.parametrize("chunk", range(1, 45))
def test_numbers_are_whole_wherever_a_chunk_ends(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(json_elements, "_CHUNK", chunk)
    path = tmp_path / "x.json"
    path.write_text('{"a": [0.5, 1.5e3, -12, 1E-2, 100000000]}')
    found = []
    read_elements(path, {"a": found.append})
    assert found == [0.5, 1500.0, -12, 0.01, 100_000_000]


def test_numbers_that_are_none_are_handed_over(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"a": [NaN, -Infinity, Infinity]}')
    found = []
    read_elements(path, {"a": found.append})
    assert math.isnan(found[0])
    assert found[1:] == [-math.inf, math.inf]


@given(st.integers(0, 60), st.integers(1, 40))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_file_that_is_cut_off_is_named_wherever_it_ends(tmp_path, monkeypatch, length, chunk):
    monkeypatch.setattr(json_elements, "_CHUNK", chunk)
    text = '{"a": [{"b": 1.5}, "text", [true, null]], "c": {"d": []}, "e": -1e5}'
    path = tmp_path / "x.json"
    path.write_text(text[:length])
    with pytest.raises(InputError, match=r"x\.json is no JSON of annotations"):
        read_elements(path, {"a": lambda element: None})


def test_a_fault_at_the_beginning_is_found_without_reading_on(tmp_path, monkeypatch):
    monkeypatch.setattr(json_elements, "_CHUNK", 100)
    path = tmp_path / "x.json"
    path.write_text('{"a": [{"b" 1}, ' + ", ".join(["0"] * 10_000) + "]}")
    read = []
    with pytest.raises(InputError, match="Expecting ':' delimiter at character 12"):
        read_elements(path, {"a": lambda element: None}, read.append)
    assert sum(read) == 100
