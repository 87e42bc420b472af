"""Paths of users, on a disk and in a bucket, and files that are whole or not there."""

import io
import os
import pickle
import sys
from pathlib import Path

import fsspec
import pytest
from etils import epath
from etils.epath import backend

from gcnet_jax import files
from gcnet_jax.errors import InputError


@pytest.fixture(params=["disk", "bucket"])
def folder(request, tmp_path):
    return epath.Path(tmp_path) if request.param == "disk" else request.getfixturevalue("bucket")


def test_what_is_written_whole_is_read_again_and_nothing_else_is_left(folder):
    files.write_whole(folder / "a.txt", "first")
    files.write_whole(folder / "a.txt", "größer")
    files.write_whole(folder / "b.bin", b"\x00\xff")
    files.write_whole(folder / "c.bin", io.BytesIO(b"of a file"))
    assert (folder / "a.txt").read_bytes() == "größer".encode()
    assert (folder / "c.bin").read_bytes() == b"of a file"
    assert (folder / "b.bin").read_bytes() == b"\x00\xff"
    assert {path.name for path in folder.iterdir()} == {"a.txt", "b.bin", "c.bin"}


def test_a_full_disk_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    files.write_whole(tmp_path / "a.txt", "first")
    write_bytes = Path.write_bytes

    def half(path, content):
        write_bytes(path, content[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(epath.Path(tmp_path)), "write_bytes", half)
    with pytest.raises(InputError, match=r"a\.txt cannot be written \(No space left on device\)"):
        files.write_whole(tmp_path / "a.txt", "second")
    assert (tmp_path / "a.txt").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_bucket_that_refuses_is_named_and_keeps_what_it_had(bucket, storage, monkeypatch):
    files.write_whole(bucket / "a.txt", "first")
    monkeypatch.setattr(storage, "refuses", "writes")
    with pytest.raises(InputError, match=r"gs://.*a\.txt cannot be written \(Forbidden: "):
        files.write_whole(bucket / "a.txt", "second")
    assert (bucket / "a.txt").read_text() == "first"


def test_paths_on_disk_and_in_buckets_are_taken_as_they_are(bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("runs/a", tmp_path / "b", "odd:name", f"{bucket}/runs"):
        assert str(files.as_path(path)) == str(path)
    assert files.absolute("runs/a") == epath.Path(tmp_path) / "runs" / "a"
    assert files.absolute(bucket / "runs") == bucket / "runs"
    assert files.local("runs", "advice") == epath.Path("runs")


def test_a_folder_is_no_pattern_whatever_its_name(folder):
    for name in ("w[a]z", "waz", "w*"):
        for file in ("part_0", "part_1", "other"):
            (folder / name / "parts").mkdir(parents=True, exist_ok=True)
            (folder / name / "parts" / file).write_text("")
    for name in ("w[a]z", "w*"):
        path = files.as_path(folder / name)
        assert {str(p) for p in path.glob("parts/part_*")} == {
            f"{folder}/{name}/parts/part_{i}" for i in range(2)
        }
        assert pickle.loads(pickle.dumps(path)) == path
    with pytest.raises(NotImplementedError):
        files.as_path(folder).glob("**")


@pytest.mark.parametrize("path", ["/gs/bucket", "/hf"])
def test_a_local_folder_that_would_be_taken_for_a_bucket_is_refused(path):
    with pytest.raises(InputError, match=f"{path} lies in a folder that is taken for a bucket"):
        files.as_path(path)


def test_a_name_that_is_not_utf8_is_shown_as_far_as_it_can_be():
    path = files.as_path(os.fsdecode(b"runs/a\xff"))
    with pytest.raises(InputError, match=r"the name runs/a\\udcff is not UTF-8"):
        files.as_utf8(path)


def test_a_disk_that_cannot_be_written_at_all_is_named_with_its_reason(tmp_path, monkeypatch):
    def refuses(*arguments, **options):
        raise OSError(30, "Read-only file system")

    for method in ("write_bytes", "unlink"):
        monkeypatch.setattr(type(epath.Path(tmp_path)), method, refuses)
    message = r"/config\.json cannot be written \(Read-only file system\)"
    with pytest.raises(InputError, match=message):
        files.write_whole(tmp_path / "config.json", "{}")


@pytest.mark.parametrize(
    "path", ["s3://bucket/runs", "gs:/bucket/runs", Path("gs://bucket/runs"), "file:///tmp"]
)
def test_what_would_become_a_local_folder_of_an_odd_name_is_refused(path):
    with pytest.raises(InputError, match=r"is neither a local path nor gs://BUCKET"):
        files.as_path(path)


def test_a_bucket_that_is_not_there_is_named(storage):
    for path, name in (
        ("gs://no-such-bucket/runs", "gs://no-such-bucket"),
        ("gs:///runs", "gs://"),
    ):
        with pytest.raises(InputError, match=f"there is no bucket {name},"):
            files.as_path(path)


def test_what_needs_a_local_folder_says_what_to_do_instead(bucket):
    with pytest.raises(InputError, match=r"in a bucket; expected a local folder: copy it first"):
        files.local(bucket / "data", "copy it first")


def test_without_gcsfs_the_error_says_what_to_install(monkeypatch):
    def missing(*args, **kwargs):
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    backend.fsspec_backend._get_filesystem.cache_clear()
    with pytest.raises(InputError, match=r"needs gcsfs: pip install 'gcnet-jax\[gcs\]'"):
        files.as_path("gs://some-bucket/runs")


def test_what_a_bucket_answers_in_place_of_an_answer_is_passed_on(storage, monkeypatch):
    monkeypatch.setattr(storage, "refuses", "everything")
    with pytest.raises(InputError, match=r"gs://other cannot be reached \(Forbidden: the caller"):
        files.as_path("gs://other/runs")


# Reading -----------------------------------------------------------------------------------------


def test_regular_files_are_read_wherever_they_are(folder):
    (folder / "a").write_bytes(b"\x00\xff")
    (folder / "a.json").write_bytes('{"ä": [1]}'.encode())
    assert files.read_regular(folder / "a") == b"\x00\xff"
    assert files.read_json(folder / "a.json") == {"ä": [1]}


def test_what_is_no_regular_file_is_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe", tmp_path / "device", tmp_path):
        with pytest.raises(InputError, match=f"{path} is no regular file"):
            files.open_regular(path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000])
def test_json_that_is_none_is_always_the_same_kind_of_error(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError):
        files.read_json(tmp_path / "a.json")


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files, as Unix can")
def test_a_folder_without_room_for_a_picture_is_named_before_the_work(tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(InputError, match=f"no files can be written in {tmp_path}"):
            files.check_writable(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())
    files.check_writable(tmp_path)
