"""Markdown of users as HTML that a page may show."""

from collections.abc import Callable
from functools import cache
from typing import Any, Final

# Images are left out: a reader's browser would fetch them from wherever the author says.
_TAGS: Final = frozenset(
    {
        *(
            "a",
            "blockquote",
            "br",
            "code",
            "em",
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
            "hr",
            "li",
            "ol",
            "p",
            "pre",
            "s",
            "strong",
        ),
        *("table", "tbody", "td", "th", "thead", "tr", "ul"),
    }
)
_ATTRIBUTES: Final = {"a": {"href", "title"}, "ol": {"start"}}
_ADDRESSES: Final = ("http://", "https://", "mailto:", "tel:")


@cache
def _rendered() -> Callable[[str], str]:
    """Return the function that makes HTML of Markdown."""
    # Many servers never show a note, and it takes a twentieth of a start to import.
    from markdown_it import MarkdownIt  # noqa: PLC0415
    from markdown_it.common.utils import escapeHtml  # noqa: PLC0415

    def image_text(renderer: Any, tokens: Any, index: int, options: Any, environment: Any) -> str:
        """Return the alternative text of an image, which is not shown itself."""
        return escapeHtml(renderer.renderInlineAsText(tokens[index].children or [], options, environment))

    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    markdown.add_render_rule("image", image_text)
    return markdown.render


def _without_relative(_: str, attribute: str, value: str) -> str | None:
    """Leave out an address that leads into the site of the page, or to a host under the scheme of the page."""
    return None if attribute == "href" and not value.lower().startswith(_ADDRESSES) else value


def safe_html(text: str) -> str:
    """Return Markdown (CommonMark, with tables and strikethrough) as HTML without scripts, styles and images.

    A text of 64 KiB takes up to half a second.
    """
    import nh3  # noqa: PLC0415  # as in `_rendered`

    return nh3.clean(
        _rendered()(text),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        attribute_filter=_without_relative,
        link_rel="noopener noreferrer nofollow",
    )
