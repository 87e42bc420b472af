"""`.pth` files made by hand: parts of pickles, instruction by instruction, and both formats."""

import io
import pickle
import zipfile

PROTOCOL = b"\x80\x02"
MACHINE = pickle.dumps({"little_endian": True}, 2)
MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + MACHINE


def number(value):
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def text(value):
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(shape, strides, *, count=4, offset=0, key="0", kind="FloatStorage"):
    """The instructions that make a tensor of a storage of `count` numbers."""
    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu")
    storage += number(count) + b"tQ"
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + numbers(shape)
        + numbers(strides) + b"\x89}tR"
    )  # fmt: skip


def weights(*tensors):
    """A pickle of a bare state dict of tensors w0, w1 and so on."""
    items = b"".join(text(f"w{i}") + code for i, code in enumerate(tensors))
    return PROTOCOL + b"}(" + items + b"u."


def file_of(program, form, rows={"0": bytes(16)}, width=4):  # noqa: B006
    """A file in either format with a pickle and the bytes of its storages."""
    if form == "legacy":
        counted = ((len(row) // width).to_bytes(8, "little") + row for row in rows.values())
        return MAGIC + program + pickle.dumps(list(rows), 2) + b"".join(counted)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x/data.pkl", program)
        for key, row in rows.items():
            archive.writestr(f"x/data/{key}", row)
        archive.writestr("x/version", "3\n")
    return buffer.getvalue()
