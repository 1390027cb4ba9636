"""The HTML of notes."""

import asyncio
from typing import Final
from uuid import UUID

from herdbook.markdown import safe_html
from herdbook.turns import Turns

# One text is rendered at a time, so that the event loop shares the processor with no more than one thread.
_RENDERING: Final = Turns("texts to render", at_once=1, at_once_each=1, waiting=200, waiting_each=20, seconds=10)


async def html_of(text: str, workspace_id: UUID) -> str:
    """Return Markdown as HTML that a page may show, once it is the turn of the workspace."""
    async with _RENDERING.turn(workspace_id):
        return await asyncio.to_thread(safe_html, text)
