import pytest

from gcnet_jax.errors import InputError
from tests.faults.report import counts, table, write_page


def record(series, ends, *kinds, run=1, processes=1, resumed=0, newest=0, **changes):
    return {
        "series": series,
        "run": run,
        "processes": processes,
        "ends": ends,
        "faults": [{"number": i, "kind": kind} for i, kind in enumerate(kinds)],
        "completed": ends == ["to the end"],
        "hopeless": False,
        "problems": [],
        "resumed": resumed,
        "newest": newest,
        "seconds_to_stop": None,
        **changes,
    }


RECORDS = [
    record(0, ["killed"], "killed", "bit flipped", newest=10),
    record(0, ["saved and stopped"], "told to stop", resumed=5, seconds_to_stop=[2.0]),
    record(0, ["to the end"]),
    record(1, ["one clear error", "exit status -6"], "disk full", processes=2),
    record(1, ["exit status 1"], processes=2, problems=["process 0: exit status 1"]),
]


def test_each_fault_is_counted_by_what_became_of_it():
    found = counts(RECORDS)
    assert found["killed", 1] == {"faults": 1, "killed": 1, "bitwise equal in the end": 1}
    assert found["bit flipped", 1]["older checkpoint"] == 1
    assert found["told to stop", 1]["saved, status 75"] == 1
    # A run that fails later is not equal in the end.
    assert found["disk full", 2] == {
        "faults": 1,
        "one clear error": 1,
        "bitwise equal in the end": 0,
    }


def test_damage_that_harms_nothing_is_told_from_damage_that_is_noticed():
    def outcome(**of_next):
        first = record(0, ["killed"], "file deleted", newest=10)
        return counts([first, record(0, ["to the end"], **of_next)])["file deleted", 1]

    assert outcome(resumed=10)["no harm"]
    assert outcome(resumed=5)["older checkpoint"]
    assert outcome(resumed=None, hopeless=True)["one clear error"]


def test_the_page_gets_the_table_between_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- counts: written by python -m tests.faults -->\nof the last time\n"
        "<!-- end of counts -->\nafter\n"
    )
    write_page(page, RECORDS, seed=7)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("<!-- end of counts -->\nafter\n")
    assert table(RECORDS) in text
    assert "seed 7" in text
    assert "of the last time" not in text
    write_page(page, RECORDS, seed=7)
    assert page.read_text() == text


def test_a_page_without_marks_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    with pytest.raises(InputError, match="lacks the lines"):
        write_page(page, RECORDS, seed=0)
    assert page.read_text() == "nothing\n"
