"""What all tasks say of predictions in the same words."""

import rich.console

from gcnet_jax.errors import InputError
from gcnet_jax.task import Photo


def told(error: InputError, photo: Photo, console: rich.console.Console) -> str:
    """What is wrong with a file, once the user has been told."""
    said = str(error)
    if photo.called is not None:
        said = said.replace(str(photo.path), photo.called)
    console.print(f"left out: {said}", markup=False, highlight=False, soft_wrap=True)
    return said


def as_percent(share: float) -> str:
    """A share or a probability in words."""
    return f"{100 * share:.0f}%" if share >= 0.01 else "<1%"
