"""What can be wrong with a `.pth` file; whoever knows its name makes an `InputError` of these."""


class DamagedFileError(Exception):
    """The bytes are not those of a whole file; the message says in what, and may be empty."""


class RefusedFileError(Exception):
    """The file asks for more than arrays and plain containers; the message says for what."""
