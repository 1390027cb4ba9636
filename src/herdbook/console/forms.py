"""The forms that pages receive: their fields, and perhaps a file, which is read as it comes."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from multipart import (  # pyright: ignore[reportMissingTypeStubs]  # it is typed but for its oldest functions
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,  # pyright: ignore[reportUnknownVariableType]
)
from starlette.datastructures import Headers, ImmutableMultiDict
from starlette.types import Receive

from herdbook.errors import FieldError, Invalid, TooLarge
from herdbook.http.api_app import Disconnected

# More than a note and all other members of any object together.
MAX_FORM_BYTES: Final = 1_048_576
MAX_FORM_FIELDS: Final = 2000
# It says nothing about its types.
_parsed: Callable[[str], tuple[str, dict[str, str]]] = parse_options_header  # pyright: ignore[reportUnknownVariableType]
_MALFORMED: Final = "The form has no file that can be read. Choose the file again."


class SentFile(NamedTuple):
    """The file of a form: its name, and its parts as they come."""

    name: str
    pieces: AsyncIterator[bytes]


async def sent_form(headers: Headers, receive: Receive) -> tuple[ImmutableMultiDict[str, str], None]:
    """Return the form in a body. Refusals: TooLarge, Invalid. Raise Disconnected if the browser goes away."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in _chunks(receive):
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_FORM_BYTES:
            raise TooLarge(MAX_FORM_BYTES)
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if size and media_type != "application/x-www-form-urlencoded":
        raise _not_a_form("A form is sent as `application/x-www-form-urlencoded`.", "invalid_type")
    try:
        text = b"".join(chunks).decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    except ValueError:
        raise _not_a_form(f"The form is not percent-encoded UTF-8, or has more than {MAX_FORM_FIELDS} fields.") from None
    return ImmutableMultiDict[str, str](pairs), None


async def sent_file(headers: Headers, receive: Receive) -> tuple[ImmutableMultiDict[str, str], SentFile | None]:
    """Return the fields before the file of a form (RFC 7578), and the file, which is read later. Fields behind it are left out.

    A form without a file may be sent like any other. Refusals: TooLarge, Invalid. Raise Disconnected if the browser goes away.
    """
    media_type, options = _parsed(headers.get("content-type", ""))
    if media_type != "multipart/form-data":
        return await sent_form(headers, receive)
    fields: list[tuple[str, str]] = []
    name, value, size = "", b"", 0
    events = _events(options.get("boundary", ""), receive)
    async for event in events:
        if isinstance(event, MultipartSegment):
            if event.filename is not None:
                file = SentFile(event.filename, _until_end(events)) if event.filename else None
                return ImmutableMultiDict(fields), file
            name, value = event.name or "", b""
        elif event is None:
            fields.append((name, _text(value)))
        else:
            value += event
            size += len(event)
            if size > MAX_FORM_BYTES:
                raise TooLarge(MAX_FORM_BYTES)
    return ImmutableMultiDict(fields), None


async def _chunks(receive: Receive) -> AsyncGenerator[bytes]:
    """Yield a body as it comes."""
    is_whole = False
    while not is_whole:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        yield message.get("body", b"")
        is_whole = not message.get("more_body", False)


async def _events(boundary: str, receive: Receive) -> AsyncGenerator[MultipartSegment | bytes | bytearray | None]:
    """Yield each part of a form, the pieces of its value, and None at its end. Refusal: Invalid."""
    try:
        with PushMultipartParser(boundary, max_segment_count=MAX_FORM_FIELDS, strict=True) as parser:
            async for chunk in _chunks(receive):
                # An empty one would say that the form ends.
                for event in parser.parse(chunk) if chunk else ():
                    yield event
    except MultipartError:
        raise _not_a_form(_MALFORMED) from None


async def _until_end(events: AsyncIterator[MultipartSegment | bytes | bytearray | None]) -> AsyncGenerator[bytes]:
    """Yield the pieces of the part that has begun."""
    async for event in events:
        if event is None:
            return
        assert not isinstance(event, MultipartSegment), "a part ends before the next one"
        yield bytes(event)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise _not_a_form("The form is not in UTF-8.") from None


def _not_a_form(message: str, code: str = "invalid_encoding") -> Invalid:
    return Invalid([FieldError("", code, message)])
