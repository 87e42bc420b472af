"""HTML pages that are one file: elements whose text is escaped, and pictures within the file."""

import base64
import html
import importlib.resources
import string
from collections.abc import Iterable, Mapping

from gcnet_jax.errors import printable

_EMPTY = ("img",)


class Html(str):
    """Text that is HTML already. Whatever else is put into an element is escaped."""


def element(tag: str, *content: str, **attributes: str) -> Html:
    """An element with its content and attributes.

    Args:
        tag: its name.
        content: `Html` as it is, and any other text escaped, characters that cannot be shown too.
        attributes: by name, whose trailing underscore is left out, as of `class_`.
    """
    names = {name.rstrip("_"): value for name, value in attributes.items()}
    opening = "".join(f' {name}="{_escaped(value)}"' for name, value in names.items())
    if tag in _EMPTY:
        return Html(f"<{tag}{opening}>")
    return Html(f"<{tag}{opening}>{joined(content)}</{tag}>")


def joined(content: Iterable[str]) -> Html:
    """Pieces of content one after the other."""
    return Html("".join(x if isinstance(x, Html) else _escaped(x) for x in content))


def lines(text: str) -> Html:
    """Text of several lines as it is, for a `pre`."""
    return Html("\n".join(_escaped(line) for line in text.splitlines()))


def picture(content: bytes, kind: str, *, alt: str, class_: str = "picture") -> Html:
    """A picture within the page.

    Args:
        content: of its file.
        kind: of the file: "png", "jpeg" or "svg+xml".
        alt: what it shows, for those who cannot see it.
        class_: of its style.
    """
    data = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return element("img", src=data, alt=alt, class_=class_)


def scrolled(content: Html) -> Html:
    """Content that may be wider than the page."""
    return element("div", content, class_="scrolled", tabindex="0")


def page(title: str, subtitle: str, sections: Mapping[str, tuple[str, Html]]) -> str:
    """A page of sections, with links to them, that needs no other file and no network.

    Args:
        title: of the page.
        subtitle: below it.
        sections: title and content of each by a short name; what has no content is left out.
    """
    shown = {key: entry for key, entry in sections.items() if entry[1]}
    links = [element("a", name, href=f"#{key}") for key, (name, _) in shown.items()]
    body = [
        element("section", element("h2", name), content, id=key)
        for key, (name, content) in shown.items()
    ]
    file = importlib.resources.files("gcnet_jax.training") / "page.html"
    return string.Template(file.read_text("utf-8")).substitute(
        title=joined([title]), subtitle=joined([subtitle]), links=joined(links), body=joined(body)
    )


def _escaped(text: str) -> str:
    return html.escape(printable(text))
