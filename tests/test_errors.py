"""What an error shows of what it quotes, and what it says of misspelt names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcnet_jax.errors import InputError, did_you_mean, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("one\ntwo\r\tthree", r"one\ntwo\r\tthree"),
        ("\x9b31m and \x7f", r"\x9b31m and \x7f"),
        ("photo\u202egnp.exe", r"photo\u202egnp.exe"),
        ("\udcff.png", r"\udcff.png"),
        ("Straße, 道路, क्षेत्र, 👩‍🌾, [/road]", "Straße, 道路, क्षेत्र, 👩‍🌾, [/road]"),
    ],
)
def test_an_error_shows_what_a_terminal_would_obey_as_escapes(text, shown):
    assert str(InputError(f"class '{text}' is unknown")) == f"class '{shown}' is unknown"


@given(st.text() | st.text(st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_whatever_is_quoted_fits_on_one_line_that_can_be_written(text):
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert shown.encode().decode() == shown
    assert "\x1b" not in shown
    assert printable(shown) == shown


@pytest.mark.parametrize(
    ("name", "meant"),
    [("camvd", "camvid"), ("CamVid", "camvid"), ("ade", "ADE20K"), ("pascal", None), ("", None)],
)
def test_a_misspelt_name_is_answered_with_the_nearest_there_is(name, meant):
    says = f" (did you mean '{meant}'?)" if meant else ""
    assert did_you_mean(name, ["camvid", "cityscapes", "ADE20K"]) == says
