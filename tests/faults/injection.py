"""Doing the harm: to files, to a disk, to processes."""

import os
import random
import shutil
import subprocess
from pathlib import Path

from gcnet_jax.training.checkpoint_files import FOLDER

DISK_BYTES = 32 << 20
"""Size of the small disk that a run with the fault `disk full` writes to."""
_MOST_ROOM = 500_000  # bytes left on it when the fault comes; a checkpoint takes half of that
_BALLAST = "ballast"


def damage_file(checkpoint: Path, kind: str, rng: random.Random) -> str:
    """Truncates or deletes a file of a checkpoint, or flips one of its bits; says what was done."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    if kind != "file deleted":
        files = [path for path in files if path.stat().st_size]
    victim = rng.choice(files)
    name = victim.relative_to(checkpoint)
    if kind == "file deleted":
        victim.unlink()
        return f"{name} deleted"
    content = bytearray(victim.read_bytes())
    place = rng.randrange(len(content))
    if kind == "file truncated":
        victim.write_bytes(content[:place])
        return f"{name} cut to {place} of {len(content)} bytes"
    bit = rng.randrange(8)
    content[place] ^= 1 << bit
    victim.write_bytes(content)
    return f"{name}: bit {bit} of byte {place} flipped"


def saves_under_way(workdir: Path) -> set[str]:
    """The names of the folders that Orbax renames when they are whole."""
    folder = workdir / FOLDER
    if not folder.exists():
        return set()
    return {name for name in os.listdir(folder) if "orbax-checkpoint-tmp" in name}  # noqa: PTH208


class Records:
    """A copy of the data set whose training records can be corrupted and mended.

    Args:
        original: the folder that `prepare_dataset.py` wrote.
        copy: where to put the copy; only the training records are copied, the rest is linked.
    """

    def __init__(self, original: Path, copy: Path):
        self.data_dir = copy
        for path in original.rglob("*"):
            target = copy / path.relative_to(original)
            if path.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            elif "-train." in path.name:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(path.resolve())
        self._files = sorted(copy.rglob("*-train.*"))
        self._whole: dict[Path, bytes] = {}

    def corrupt(self, rng: random.Random) -> str:
        """Inverts runs of bytes in some of the files."""
        chosen = rng.sample(self._files, rng.randint(1, len(self._files)))
        count, length = rng.randint(1, 50), rng.choice((1, 16, 4096))
        for path in chosen:
            self._whole[path] = path.read_bytes()
            content = bytearray(self._whole[path])
            for _ in range(count):
                start = rng.randrange(len(content))
                part = content[start : start + length]
                content[start : start + length] = bytes(byte ^ 0xFF for byte in part)
            path.write_bytes(content)
        return f"{count} x {length} bytes inverted in each of {len(chosen)} files"

    def mend(self) -> None:
        """Undoes `corrupt`."""
        for path, content in self._whole.items():
            path.write_bytes(content)
        self._whole.clear()


class SmallDisk:
    """A tmpfs of a few megabytes, which can be filled. Only root can have one.

    Args:
        folder: where to mount it; made if it is not there.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        options = f"size={DISK_BYTES}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)

    def fill(self, rng: random.Random) -> str:
        """Leaves little room or none."""
        room = rng.choice((0, rng.randrange(_MOST_ROOM)))
        with (self._folder / _BALLAST).open("wb") as file:
            while True:
                status = os.statvfs(self._folder)
                free = status.f_bavail * status.f_frsize
                try:
                    os.posix_fallocate(file.fileno(), 0, max(free - room, 1))
                except OSError:  # the run has taken some of it since
                    if free == 0:
                        break
                else:
                    break
        return f"{room} bytes left"

    def make_room(self) -> None:
        """Undoes `fill`."""
        (self._folder / _BALLAST).unlink(missing_ok=True)

    def unmount(self) -> None:
        """Gives it back."""
        subprocess.run(["umount", "--lazy", str(self._folder)], check=True)


def small_disks_possible(folder: Path) -> bool:
    """Whether a tmpfs can be mounted here."""
    try:
        SmallDisk(folder).unmount()
    except (OSError, subprocess.CalledProcessError):
        return False
    return True
