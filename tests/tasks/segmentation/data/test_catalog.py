import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcnet_jax.errors import InputError
from gcnet_jax.tasks.segmentation.data import (
    DATA_SETS,
    OFFICIAL_SETS,
    DatasetClasses,
    generic_palette,
)
from gcnet_jax.tasks.segmentation.data.catalog import CATALOG, read_class_table


def test_every_official_set_has_classes():
    assert set(OFFICIAL_SETS) == set(CATALOG)


@pytest.mark.parametrize(
    ("name", "num_classes"),
    [
        ("ade20k", 150),
        ("camvid", 11),
        ("cityscapes", 19),
        ("context_shapes", 7),
        ("voc12aug", 21),
    ],
)
def test_classes_are_named_and_coloured_apart(name, num_classes):
    classes = DATA_SETS.meaning(name)
    assert classes.num_classes == num_classes
    assert len(set(classes.names)) == num_classes
    # The colours of ADE20K are the published ones, of which two are the same.
    assert len(set(classes.palette)) == num_classes - (name == "ade20k")
    assert all(0 <= value <= 255 for colour in classes.palette for value in colour)


def test_an_unknown_dataset_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r"'cityscape'.*camvid, cityscapes, context_shapes"):
        DATA_SETS.meaning("cityscape")


def test_the_generic_colours_are_those_of_voc_and_stay_apart():
    assert generic_palette(21) == DATA_SETS.meaning("voc12aug").palette
    assert len(set(generic_palette(256))) == 256


def test_every_class_needs_a_colour():
    with pytest.raises(ValueError, match="2 class names but 1 colours"):
        DatasetClasses(names=("a", "b"), palette=((0, 0, 0),))


def test_tables_of_spreadsheets_are_read_and_other_files_named(tmp_path):
    table = tmp_path / "classes.csv"
    table.write_bytes("name\nroad\nsky\n".encode("utf-8-sig"))
    assert read_class_table(table).names == ("road", "sky")
    table.write_text("name;red;green;blue\nroad;1;2;3\n")
    with pytest.raises(InputError, match="separated by commas; found 'name;red;green;blue'"):
        read_class_table(table)
    table.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(InputError, match="no text in UTF-8"):
        read_class_table(table)


@pytest.mark.parametrize(
    "header",
    [
        "name,red,green,blue",
        "name, red, green, blue",
        "Name,Red,Green,Blue",
        "NAME,R,G,B",
        " name ,r, G ,blue",
        "name,red,green,blue,,",
    ],
)
def test_colours_are_taken_however_the_header_writes_them(tmp_path, header):
    table = tmp_path / "classes.csv"
    table.write_text(f"{header}\nroad, 1, 2,3\n\n sky ,255,0,  7\n,,,\n")
    classes = read_class_table(table)
    assert classes.names == ("road", "sky")
    assert classes.palette == ((1, 2, 3), (255, 0, 7))


def test_columns_may_stand_in_any_order(tmp_path):
    table = tmp_path / "classes.csv"
    table.write_text("blue,green,red,name\n1,2,3,road\n4,5,6,sky\n")
    assert read_class_table(table) == DatasetClasses(("road", "sky"), ((3, 2, 1), (6, 5, 4)))


NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=5)
COLOURS = st.tuples(*[st.integers(0, 255)] * 3)


@given(
    columns=st.permutations(["name", "red", "green", "blue"]),
    write=st.sampled_from([str.upper, str.title, " {} ".format, "\t{}".format, str]),
    classes=st.dictionaries(NAMES, COLOURS, min_size=2, max_size=5),
    unknown=st.sampled_from([None, "id", "colour", "ground", "name "]),
)
def test_a_table_is_read_with_all_it_says_or_refused(
    tmp_path_factory, columns, write, classes, unknown
):
    table = tmp_path_factory.mktemp("tables") / "classes.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([write(column) for column in columns] + ([unknown] if unknown else []))
        for name, (red, green, blue) in classes.items():
            row = {"name": name, "red": red, "green": green, "blue": blue}
            writer.writerow([row[column] for column in columns] + (["1"] if unknown else []))
    if unknown:
        with pytest.raises(InputError, match=r"classes.csv: (column|there are two columns)"):
            read_class_table(table)
    else:
        expected = DatasetClasses(tuple(classes), tuple(classes.values()))
        assert read_class_table(table) == expected


@pytest.mark.parametrize("name", ["\x1b[2Jroad", "road\x07", "ro\nad", "ro\u202ead", "\udcff"])
def test_names_that_a_terminal_would_obey_are_refused(tmp_path, name):
    plain = {"names": ["sky", name], "palette": [[0, 0, 0], [9, 9, 9]]}
    with pytest.raises(
        InputError, match=r"class name '.*\\.*' holds characters that cannot be shown"
    ):
        DatasetClasses.from_plain(plain)


def test_a_table_with_such_a_name_is_named(tmp_path):
    table = tmp_path / "classes.csv"
    table.write_text("name\nsky\n\x1b[2Jroad\n")
    with pytest.raises(InputError, match=r"classes\.csv: class name '\\x1b\[2Jroad' holds charac"):
        read_class_table(table)
