"""Text for terminals, in lines that they need not break."""

import re
import shutil
import textwrap

_MOST_COLUMNS = 100  # which eyes can follow


def wrap(text: str, *, indent: str = "", further: str = "") -> str:
    """A paragraph in lines as wide as the terminal, or 80 columns where there is none.

    Words stay whole, be they wider.

    Args:
        text: the paragraph.
        indent: before the first line.
        further: before the others.
    """
    return textwrap.fill(
        text,
        width=min(shutil.get_terminal_size().columns, _MOST_COLUMNS),
        initial_indent=indent,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )


def wrap_paragraphs(text: str) -> str:
    """Paragraphs with empty lines between them; those that are indented stay as they are."""
    paragraphs = re.split(r"\n\n+", text)
    return "\n\n".join(part if part.startswith("    ") else wrap(part) for part in paragraphs)
