"""Archives that strangers have made, and archives that are damaged."""

import gzip
import io
import os
import shutil
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from etils import epath
from hypothesis import given, settings
from hypothesis import strategies as st

from gcnet_jax.data import archives, unpacking
from gcnet_jax.data.examples import Part
from gcnet_jax.errors import InputError

FILES = {"set/a.txt": b"first", "set/deeper/b.bin": bytes(range(256)) * 40, "set/empty": b""}
KINDS = ("set.zip", "set.tar", "set.tgz")


def pack(path: Path, files=FILES, more=()):
    """Writes an archive of some files; `more` are members as `TarInfo` or `ZipInfo`."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
            for name, content in files.items():
                zipped.writestr(name, content)
            for member, content in more:
                zipped.writestr(member, content)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as tar:
        for name, content in files.items():
            tar.addfile(regular(name, content), io.BytesIO(content))
        for member, content in more:
            tar.addfile(member, io.BytesIO(content))
    return path


def regular(name: str, content: bytes = b"") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    return member


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def locate(archive: Path) -> Path:
    """The folder that an archive of the part `set` is unpacked to, beside it."""
    part = Part(("set",), archive.name)
    (folder,) = archives.locate(
        [part], epath.Path(archive.parent), epath.Path(archive.parent / "unpacked")
    )
    return Path(folder)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def refused(tmp_path):
    """`refused(archive, message)`: an archive is, in one line, and leaves nothing anywhere."""

    def check(archive: Path, message: str) -> None:
        before = set(tmp_path.rglob("*"))
        with pytest.raises(InputError, match=message) as error:
            locate(archive)
        assert len(str(error.value).splitlines()) == 1
        assert set(tmp_path.rglob("*")) - before <= {archive.parent / "unpacked"}

    return check


@pytest.fixture
def here(tmp_path):
    """A folder with some more of them around it, in which nothing may appear."""
    folder = tmp_path / "around" / "here"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("name", KINDS)
def test_files_come_out_as_they_went_in(tmp_path, name):
    folder = locate(pack(tmp_path / name))
    assert tree(folder) == FILES
    assert stat.S_IMODE((folder / "set/a.txt").stat().st_mode) & 0o7111 == 0


def test_folders_dots_and_files_that_come_twice_are_ordinary(tmp_path):
    members = [
        (special("./", tarfile.DIRTYPE), b""),
        (special("./set/nothing in it/", tarfile.DIRTYPE), b""),
        (regular("./set//a.txt", b"second"), b"second"),
    ]
    folder = locate(pack(tmp_path / "set.tar", more=members))
    assert tree(folder) == FILES | {"set/a.txt": b"second"}
    assert (folder / "set" / "nothing in it").is_dir()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "target",
    ["../escaped", "set/../../escaped", "/{folder}/escaped", "set/..", "..", "//escaped", "."],
)
def test_no_name_leads_out_of_the_folder(here, refused, name, target):
    target = target.format(folder=here)
    member = zipfile.ZipInfo(target) if name == "set.zip" else regular(target, b"x")
    archive = pack(here / name, more=[(member, b"x")])
    refused(archive, f"{name} is refused: .* does not lie below the folder.*by other means")


@pytest.mark.parametrize("name", ["set.tar", "set.tgz"])
@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "../../escaped"),
        (tarfile.SYMTYPE, "set/a.txt"),
        (tarfile.LNKTYPE, "set/a.txt"),
        (tarfile.LNKTYPE, "../escaped"),
        (tarfile.FIFOTYPE, ""),
        (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""),
        (b"Z", ""),
    ],
)
def test_a_tar_brings_no_links_pipes_or_devices(here, refused, name, kind, target):
    archive = pack(here / name, more=[(special("set/odd", kind, target), b"")])
    refused(archive, f"{name} is refused: 'set/odd' is neither a regular file nor a folder")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_a_zip_brings_no_links_pipes_or_devices(here, refused, kind):
    member = zipfile.ZipInfo("set/odd")
    member.external_attr = (kind | 0o777) << 16
    archive = pack(here / "set.zip", more=[(member, b"../escaped")])
    refused(archive, r"set\.zip is refused: 'set/odd' is neither a regular file nor a folder")


def test_paths_too_long_to_be_resolved_lead_nowhere(here, refused):
    """An archive wrote outside its folder by such links in spite of `filter="data"`."""
    outside = here.parent / "outside"
    outside.write_bytes(b"before")
    long, steps = "d" * 247, "abcdefghijklmnop"
    members, path = [], "set"
    for step in steps:
        members.append((special(f"{path}/{long}", tarfile.DIRTYPE), b""))
        members.append((special(f"{path}/{step}", tarfile.SYMTYPE, long), b""))
        path = f"{path}/{long}"
    link = f"set/{'/'.join(steps)}/{'l' * 254}"
    members.append((special(link, tarfile.SYMTYPE, "../" * len(steps)), b""))
    members.append((special("set/out", tarfile.SYMTYPE, f"{link[4:]}/../../../.."), b""))
    members.append((special("set/hard", tarfile.LNKTYPE, "set/out/outside"), b""))
    members.append((regular("set/hard", b"after"), b"after"))
    archive = pack(here / "set.tar", more=members)
    refused(archive, r"set\.tar is refused: .* is neither a regular file nor a folder")
    assert outside.read_bytes() == b"before"


@pytest.mark.parametrize("name", KINDS)
def test_trees_that_could_not_be_removed_again_are_refused(here, refused, name):
    archive = pack(here / name, {**FILES, "set/" + "a/" * 1500 + "b": b"x"})
    refused(archive, f"{name} is refused: 'set/a/a/.* and so on lies 1502 folders deep")


@pytest.mark.parametrize("name", KINDS)
def test_names_that_the_disk_does_not_take_are_named(here, refused, name):
    archive = pack(here / name, {**FILES, f"set/{'a' * 300}": b"x"})
    refused(archive, f"{name} cannot be unpacked into .*unpacked .*File name too long")


def test_a_file_where_a_folder_is_is_named(here, refused):
    archive = pack(here / "set.tar", {**FILES, "set/a.txt/b": b"x"})
    refused(archive, r"set\.tar cannot be unpacked .*a\.txt")


# Sizes -------------------------------------------------------------------------------------------


@pytest.fixture
def small_allowance(monkeypatch):
    monkeypatch.setattr(unpacking, "_MOST_BYTES", 1 << 20)


@pytest.mark.parametrize("name", ["set.zip", "set.tgz"])
def test_an_archive_that_holds_far_more_than_itself_is_refused(
    here, refused, small_allowance, name
):
    zeros = bytes(40 << 20)
    archive = pack(here / name, {**FILES, "set/zeros": zeros})
    refused(archive, rf"{name} is refused: it holds more than 20 times its size and 1 MiB")


@pytest.mark.parametrize("name", ["set.zip", "set.tgz"])
def test_an_archive_of_endless_empty_files_is_refused(here, refused, small_allowance, name):
    archive = pack(here / name, {f"set/{i % 100}/{i}": b"" for i in range(3_000)})
    refused(archive, f"{name} is refused: it holds more than 20 times its size and 1 MiB")


def test_an_archive_that_goes_on_behind_its_end_is_refused(here, refused, small_allowance):
    tar = pack(here / "set.tar").read_bytes()
    archive = here / "set.tgz"
    archive.write_bytes(gzip.compress(tar + bytes(40 << 20)))
    refused(archive, r"set\.tgz is refused: it holds more than 20 times its size")


def test_a_header_of_many_megabytes_is_not_taken_into_memory(here, refused):
    member = regular("set/b", b"x")
    member.pax_headers = {"comment": "0" * (5 << 20)}
    archive = pack(here / "set.tgz", more=[(member, b"x")])
    refused(archive, r"set\.tgz is refused: a header has more than 1 MiB")


def test_holes_in_files_are_refused(here, refused):
    member = regular("set/holes", b"")
    member.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    block[386:398], block[398:410] = b"00000000000\0", b"00000000000\0"
    block[483:495] = b"77777777777\0"  # 8 GiB of nothing
    archive = here / "set.tar"
    archive.write_bytes(checksummed(block) + pack(here / "other.tar").read_bytes())
    refused(archive, r"set\.tar is refused: 'set/holes' is neither a regular file nor a folder")


def checksummed(header: bytearray) -> bytes:
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def test_a_size_below_zero_does_not_read_the_same_header_for_ever(here, refused):
    header = bytearray(regular("set/back").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" + struct.pack(">q", -1024).rjust(11, b"\xff")
    archive = here / "set.tar"
    archive.write_bytes(checksummed(header) + pack(here / "other.tar").read_bytes())
    refused(archive, r"set\.tar")


# Damage ------------------------------------------------------------------------------------------


def test_an_encrypted_zip_is_named_as_such(here, refused):
    archive = pack(here / "set.zip")
    content = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(signature) + offset] |= 1
    archive.write_bytes(content)
    refused(archive, r"set\.zip is refused: 'set/a\.txt' is encrypted; .* by other means")


def test_a_zip_that_is_compressed_in_an_unknown_way_is_named_as_such(here, refused):
    archive = pack(here / "set.zip")
    content = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        content[content.index(signature) + offset] = 9  # which Windows takes for large files
    archive.write_bytes(content)
    refused(archive, r"set\.zip is refused: 'set/a\.txt' is compressed by method 9, which is not")


@pytest.mark.parametrize("name", ["set.tar", "set.tgz"])
def test_a_damaged_header_is_not_taken_for_the_end(here, refused, name):
    content = bytearray(pack(here / "set.tar").read_bytes())
    position = content.index(b"set/deeper/b.bin")
    content[position] ^= 1
    (here / "set.tar").unlink()
    archive = here / name
    archive.write_bytes(gzip.compress(content) if name == "set.tgz" else content)
    refused(archive, rf"{name} is not a whole archive, .*bad checksum.* at byte 1024")


def test_a_tar_without_its_end_is_not_whole(here, refused):
    archive = pack(here / "set.tar")
    content = archive.read_bytes()
    archive.write_bytes(content[: content.index(b"set/empty")])
    refused(archive, r"set\.tar is not a whole archive, probably a partial download")


def test_a_wrong_checksum_at_the_end_of_a_tgz_is_noticed(here, refused):
    archive = pack(here / "set.tgz")
    content = bytearray(archive.read_bytes())
    content[-6] ^= 1
    archive.write_bytes(content)
    refused(archive, r"set\.tgz is not a whole archive.*CRC")


def test_a_pipe_in_the_place_of_an_archive_is_not_waited_for(here, refused):
    os.mkfifo(here / "set.zip")
    refused(here / "set.zip", r"set\.zip is no regular file")


@pytest.mark.parametrize("name", KINDS)
def test_no_damage_is_more_than_one_error(tmp_path_factory, name):
    whole = pack(tmp_path_factory.mktemp("whole") / name).read_bytes()

    @given(
        changes=st.lists(
            st.tuples(st.integers(0, len(whole) - 1), st.integers(1, 255)), min_size=1, max_size=4
        ),
        length=st.just(len(whole)) | st.integers(0, len(whole)),
    )
    @settings(max_examples=60)
    def damaged(changes, length):
        folder = tmp_path_factory.mktemp("damaged")
        content = bytearray(whole)
        for position, change in changes:
            content[position] ^= change
        (folder / name).write_bytes(content[:length])
        try:
            locate(folder / name)
        except InputError:
            assert not list((folder / "unpacked").iterdir())
        assert {path.name for path in folder.iterdir()} == {name, "unpacked"}
        shutil.rmtree(folder)

    damaged()
