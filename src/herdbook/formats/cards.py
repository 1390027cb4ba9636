"""vCard files (version 2.1 of versit, RFC 2426, RFC 6350): the properties of each card, read and written with nothing lost.

Nothing here knows contacts. A property keeps its group, its parameters in their order, and its value with the escapes of
versions 3.0 and 4.0, whatever the version of the card.
"""

import codecs
import io
import itertools
import quopri
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

# A photo has some hundreds of kilobytes in base64.
MAX_CARD_BYTES: Final = 4 * 1024 * 1024
MAX_PROPERTIES: Final = 2000
# The bytes of a property before its value: its name, and its parameters.
_MAX_HEAD: Final = 65_536
# The bytes of a card that are kept beside a contact: those of a large picture, and as much again.
MAX_KEPT_BYTES: Final = 524_288
_LINE_BYTES: Final = 75
_NAME: Final = re.compile(r"(?:([A-Za-z0-9-]+)\.)?([A-Za-z0-9-]+)", re.ASCII).fullmatch
_PARAMETER_NAME: Final = re.compile("[A-Za-z0-9-]+", re.ASCII).fullmatch
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_OLD_ESCAPE: Final = re.compile(r"\\([;,\\:])")
_CARET: Final = re.compile(r"\^([n'^])")
_SPECIAL: Final = re.compile(r"[\\,;\n]")
_CONTROLS: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
# Version 2.1 leaves out the names of these parameters.
_ENCODINGS: Final = frozenset({"7BIT", "8BIT", "QUOTED-PRINTABLE", "BASE64", "B"})
_BASE_64: Final = frozenset({"BASE64", "B"})
_VALUES: Final = frozenset({"INLINE", "URL", "CONTENT-ID", "CID"})
# Values that have parts between semicolons, and values that are texts. In version 2.1, a comma is a plain character in both.
STRUCTURED: Final = frozenset({"N", "ADR", "ORG", "GENDER"})
_TEXTS: Final = frozenset(
    {"FN", "NOTE", "TITLE", "ROLE", "LABEL", "MAILER", "TZ", "PRODID", "EMAIL", "TEL", "SORT-STRING", "CLASS", "UID"}
)
# The longer marks come first, because one of them begins with a shorter one.
_MARKED: Final = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class Parameter(NamedTuple):
    """A parameter of a property: its name in capital letters, and its values."""

    name: str
    values: tuple[str, ...]


class Property(NamedTuple):
    """A property of a card: its name in capital letters, its value with its escapes, its parameters, and its group, if any."""

    name: str
    value: str
    parameters: tuple[Parameter, ...] = ()
    group: str = ""

    @property
    def types(self) -> frozenset[str]:
        """Its types in small letters, without the mark of the preferred one. Quotation marks may be around several."""
        return frozenset(kind for value in self.values_of("TYPE") for kind in value.lower().split(",")) - {"pref"}

    @property
    def is_preferred(self) -> bool:
        """Whether the card marks it as the preferred one of its kind."""
        return "pref" in (value.lower() for value in self.values_of("TYPE")) or self.values_of("PREF")[:1] == ("1",)

    def values_of(self, name: str) -> tuple[str, ...]:
        """Return all values of the parameters with a name."""
        return tuple(itertools.chain.from_iterable(each.values for each in self.parameters if each.name == name))


class Card(NamedTuple):
    """A card: the number of its first line in the file, its version, and its properties in their order."""

    line: int
    version: str
    properties: tuple[Property, ...]


class CardFault(NamedTuple):
    """Something of a file that is no card: the number of the line, and what is wrong there."""

    line: int
    message: str


class _Wrong(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.fault = CardFault(line, message)


def text_of(value: str) -> str:
    """Return a value without its escapes. A colon may be escaped, too, as some programs do."""
    return _ESCAPE.sub(lambda match: "\n" if match[1] in "nN" else match[1], value)


def escaped(text: str) -> str:
    """Return a text as a value."""
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    return _SPECIAL.sub(lambda match: "\\n" if match[0] == "\n" else f"\\{match[0]}", plain)


def parts_of(value: str, separator: str = ";") -> list[str]:
    """Return the parts of a value between separators that are not escaped. The parts keep their escapes."""
    parts: list[str] = []
    start = place = 0
    while place < len(value):
        if value[place] == "\\":
            place += 2
            continue
        if value[place] == separator:
            parts.append(value[start:place])
            start = place + 1
        place += 1
    return [*parts, value[start:]]


def read_cards(file: io.BufferedReader) -> Iterator[Card | CardFault]:
    """Return the cards of a file one after the other, with what is no card between them. It holds one card in memory.

    A card with a wrong line, or with more than 4 MiB or 2,000 properties, is a fault, and the next one is read.
    """
    lines = _numbered(_in_utf_8(file))
    before: int | None = None
    for number, line in lines:
        if _says(line, "BEGIN"):
            if before is not None:
                yield CardFault(before, "This is no part of a card. A card begins with `BEGIN:VCARD`.")
                before = None
            try:
                yield _card(number, lines)
            except _Wrong as wrong:
                yield wrong.fault
        elif line.strip() and before is None:
            before = number
    if before is not None:
        yield CardFault(before, "This is no part of a card. A card begins with `BEGIN:VCARD`.")


def _in_utf_8(file: io.BufferedReader) -> Iterator[bytes]:
    """Return the lines of a file, none of them longer than a card may be. Its mark tells an encoding other than UTF-8."""
    head = file.peek(4)[:4]
    if head.startswith(codecs.BOM_UTF8):
        file.read(len(codecs.BOM_UTF8))
    encoding = next((_MARKED[mark] for mark in _MARKED if head.startswith(mark)), None)
    if encoding is None and head[1:4:2] == b"\0\0":
        encoding = "utf-16-le"
    elif encoding is None and head[:4:2] == b"\0\0":
        encoding = "utf-16-be"
    if encoding is None:
        yield from iter(lambda: file.readline(MAX_CARD_BYTES + 1), b"")
        return
    text = io.TextIOWrapper(file, encoding, errors="replace", newline="")
    try:
        yield from iter(lambda: text.readline(MAX_CARD_BYTES + 1).encode(errors="replace"), b"")
    finally:
        # The file is its owner's to close.
        text.detach()


def _numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """Return lines without their ends, with their numbers from 1. A file may end its lines as old Macs did."""
    number = 0
    for line in lines:
        for part in line.rstrip(b"\r\n").split(b"\r"):
            number += 1
            yield number, part


def _says(line: bytes, name: str) -> bool:
    return line.strip().upper() == f"{name}:VCARD".encode()


def _card(start: int, lines: Iterator[tuple[int, bytes]]) -> Card:
    """Return the card whose first line has been read. Raise _Wrong, once all its lines are read."""
    found: list[tuple[int, bytes]] = []
    size = depth = 0
    for number, line in lines:
        if _says(line, "END"):
            if depth == 0:
                break
            depth -= 1
        elif _says(line, "BEGIN"):
            depth += 1
        size += len(line) + 1
        if size <= MAX_CARD_BYTES:
            found.append((number, line))
    else:
        raise _Wrong(start, "The card that begins here does not end. The file may be cut off: look for `END:VCARD`.")
    if size > MAX_CARD_BYTES:
        raise _Wrong(start, f"The card that begins here has more than {MAX_CARD_BYTES} bytes. Leave out its pictures.")
    stated = (line.partition(b":")[2].strip() for _, line in found if line[:8].upper() == b"VERSION:")
    version = next(stated, b"3.0").decode("ascii", "replace")
    properties: list[Property] = []
    for number, line in _unfolded(found, is_old=version == "2.1"):
        each = _property(number, line, version)
        if each.name != "VERSION":
            properties.append(each)
    if len(properties) > MAX_PROPERTIES:
        raise _Wrong(start, f"The card that begins here has {len(properties)} properties. {MAX_PROPERTIES} is the limit.")
    return Card(start, version, tuple(properties))


def _unfolded(lines: Sequence[tuple[int, bytes]], *, is_old: bool) -> Iterator[tuple[int, bytes]]:
    """Return the properties of a card, each with the number of its first line.

    A line that begins with a blank goes on with the one before (RFC 6350, section 3.2). Version 2.1 keeps the blank, and has
    lines of quoted-printable that end with `=`. A card within the card is the value of AGENT before it.
    """
    number, parts = 0, list[bytes]()
    inner: list[str] = []
    depth = 0
    is_quoted = False
    for place, line in lines:
        if parts and (depth or _says(line, "BEGIN")):
            depth += _says(line, "BEGIN") - _says(line, "END")
            inner.append(_text(line, "utf-8"))
            if depth == 0:
                parts.append(escaped("\n".join([*inner, ""])).encode())
                inner = []
        elif parts and is_quoted and parts[-1].endswith(b"="):
            parts += [b"\n", line]
        elif parts and line[:1] in (b" ", b"\t"):
            parts.append(line if is_old else line[1:])
        elif line.strip():
            if parts:
                yield number, b"".join(parts)
            number, parts = place, [line]
            is_quoted = is_old and _is_quoted_printable(line)
    if parts:
        yield number, b"".join(parts)


def _is_quoted_printable(line: bytes) -> bool:
    return b"QUOTED-PRINTABLE" in line.partition(b":")[0].upper()


def _property(number: int, line: bytes, version: str) -> Property:
    """Return a property of a line. Raise _Wrong if it is none."""
    head, value = _split(line)
    if value is None:
        raise _Wrong(number, f"`{_shown(line)}` is no property of a card: there is no `:` after its name.")
    if len(head) > _MAX_HEAD:
        raise _Wrong(number, f"`{_shown(line)}` has {len(head):,} bytes before its value. {_MAX_HEAD:,} are the limit.")
    full_name, *rest = _unquoted_parts(_text(head, "utf-8"), ";")
    match = _NAME(full_name.strip())
    if match is None:
        raise _Wrong(number, f"`{_shown(line)}` is no property of a card. Its name may have letters, digits and `-`.")
    group, name = match[1] or "", match[2].upper()
    parameters = tuple(_parameters(number, rest, version))
    encoding = _first_value(parameters, "ENCODING").upper()
    if encoding == "QUOTED-PRINTABLE":
        value = quopri.decodestring(value)
    text = _text(value, _first_value(parameters, "CHARSET") or "utf-8")
    if encoding in _BASE_64:
        text = "".join(text.split())
    elif version == "2.1":
        text = _with_escapes(name, text)
    if name == "TEL" and (uri := _uri_of(text, parameters)) is not None:
        text, parameters = uri
    # The value is a text now, in no charset, and in no encoding but base64.
    dropped = {"CHARSET"} if encoding in _BASE_64 else {"CHARSET", "ENCODING"}
    kept = tuple(each for each in parameters if each.name not in dropped)
    return Property(name, _CONTROLS.sub("", text.replace("\n", "\\n")), kept, group)


def _first_value(parameters: Iterable[Parameter], name: str) -> str:
    return next((each.values[0] for each in parameters if each.name == name and each.values), "")


def _split(line: bytes) -> tuple[bytes, bytes | None]:
    """Return a line before and after the first colon outside quotation marks."""
    is_quoted = False
    for place, byte in enumerate(line[: _MAX_HEAD + 1]):
        if byte == 0x22:
            is_quoted = not is_quoted
        elif byte == 0x3A and not is_quoted:
            return line[:place], line[place + 1 :]
    # A quotation mark may stand alone in the parameters of version 2.1.
    head, colon, value = line.partition(b":")
    return head, value if colon else None


def _unquoted_parts(text: str, separator: str) -> list[str]:
    """Return the parts of a text between separators outside quotation marks, which stay."""
    parts: list[str] = []
    start = 0
    for found in re.finditer(f'"[^"]*"?|{separator}', text):
        if found[0] == separator:
            parts.append(text[start : found.start()])
            start = found.end()
    return [*parts, text[start:]]


def _parameters(number: int, parts: Iterable[str], version: str) -> Iterator[Parameter]:
    for part in parts:
        name, equals, rest = part.partition("=")
        if not equals:
            # Version 2.1, and those who still write as it did.
            bare = name.strip()
            if bare:
                upper = bare.upper()
                yield Parameter("ENCODING" if upper in _ENCODINGS else "VALUE" if upper in _VALUES else "TYPE", (bare,))
            continue
        if _PARAMETER_NAME(name.strip()) is None:
            raise _Wrong(number, f"`{_shown(part.encode())}` is no parameter. Its name may have letters, digits and `-`.")
        values = (value.strip('"') for value in _unquoted_parts(rest.strip(), ","))
        yield Parameter(name.strip().upper(), tuple(_without_carets(value) if version == "4.0" else value for value in values))


def _without_carets(value: str) -> str:
    """Return the value of a parameter without its escapes (RFC 6868, section 3.2)."""
    return _CARET.sub(lambda match: {"n": "\n", "'": '"', "^": "^"}[match[1]], value)


def _text(data: bytes, charset: str) -> str:
    """Return bytes as a text. Those that are not in their charset are taken for Windows-1252, as old programs wrote."""
    for encoding in (charset, "utf-8", "cp1252"):
        try:
            return data.decode(encoding)
        except (LookupError, ValueError):
            continue
    return data.decode("latin-1")


def _with_escapes(name: str, value: str) -> str:
    """Return a value of version 2.1, in which only semicolons are escaped, with the escapes of the later versions."""
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    if name in STRUCTURED:
        return ";".join(escaped(_without_old_escapes(part)) for part in parts_of(text))
    return escaped(_without_old_escapes(text)) if name in _TEXTS else text


def _without_old_escapes(value: str) -> str:
    """Return a value of version 2.1 without its escapes. A backslash before another character is a plain one."""
    return _OLD_ESCAPE.sub(r"\1", value)


def _shown(line: bytes) -> str:
    text = _text(line[:40], "utf-8")
    return "".join(character if character.isprintable() else "?" for character in text) + ("..." if len(line) > 40 else "")


def written(properties: Iterable[Property], version: str) -> str:
    """Return a card of version 3.0 or 4.0, with lines of at most 75 bytes (RFC 6350, section 3.2)."""
    translated = _in_four if version == "4.0" else _in_three
    lines = ["BEGIN:VCARD", f"VERSION:{version}"]
    for each in properties:
        lines += _folded(_line(translated(each), version))
    return "\r\n".join([*lines, "END:VCARD", ""])


def kept_line(each: Property) -> str:
    """Return a property as one line that `read_line` reads back, whatever its version was."""
    head = f"{each.group}.{each.name}" if each.group else each.name
    for parameter in each.parameters:
        # Quotation marks keep the spaces around a value.
        values = ",".join(f'"{_with_carets(value)}"' for value in parameter.values)
        head += f";{parameter.name}={values}"
    return f"{head}:{each.value}"


def read_line(line: str) -> Property | None:
    """Return the property of a line that `kept_line` has written, or None if a line is none."""
    try:
        return _property(1, line.encode(), "4.0")
    except (_Wrong, UnicodeEncodeError):
        return None


def fitting(properties: Sequence[Property]) -> tuple[Property, ...]:
    """Return the properties of a card without the largest ones, if they are too large together to be kept."""
    sizes = [len(kept_line(each).encode()) + 1 for each in properties]
    kept, size = {*range(len(sizes))}, sum(sizes)
    for index in sorted(kept, key=sizes.__getitem__, reverse=True):
        if size <= MAX_KEPT_BYTES:
            break
        size -= sizes[index]
        kept.remove(index)
    return tuple(each for index, each in enumerate(properties) if index in kept)


def _line(each: Property, version: str) -> str:
    head = f"{each.group}.{each.name}" if each.group else each.name
    for parameter in each.parameters:
        values = ",".join(_parameter_value(value, version) for value in parameter.values)
        head += f";{parameter.name}={values}"
    return f"{head}:{each.value}"


def _parameter_value(value: str, version: str) -> str:
    # Nothing stands for quotation marks and line breaks in version 3.0.
    value = _with_carets(value) if version == "4.0" else value.replace("\n", " ").replace('"', "'")
    return f'"{value}"' if any(character in value for character in ",;:") else value


def _with_carets(value: str) -> str:
    return value.replace("^", "^^").replace("\n", "^n").replace('"', "^'")


def _folded(line: str) -> Iterator[str]:
    data = line.encode()
    start, room = 0, _LINE_BYTES
    while len(data) - start > room:
        end = start + room
        # No character is cut in two.
        while data[end] & 0xC0 == 0x80:
            end -= 1
        yield (" " if start else "") + data[start:end].decode()
        start, room = end, _LINE_BYTES - 1
    yield (" " if start else "") + data[start:].decode()


def _in_four(each: Property) -> Property:
    """Return a property as version 4.0 writes it: `PREF=1`, pictures as `data:` addresses, places as `geo:` addresses."""
    parameters = [
        Parameter(name, tuple(value for value in values if name != "TYPE" or value.lower() != "pref"))
        for name, values in each.parameters
    ]
    if each.is_preferred and not each.values_of("PREF"):
        parameters.append(Parameter("PREF", ("1",)))
    value = each.value
    if each.values_of("ENCODING"):
        kind = next(iter(each.types), "")
        media = kind if "/" in kind else f"{_MEDIA.get(each.name, 'application')}/{kind or 'octet-stream'}"
        value = f"data:{media};base64,{value}"
        parameters = [parameter for parameter in parameters if parameter.name not in ("ENCODING", "TYPE", "VALUE")]
    if each.name == "GEO" and (match := _OLD_GEO(value)):
        value = f"geo:{match[1]},{match[2]}"
    return each._replace(value=value, parameters=tuple(parameter for parameter in parameters if parameter.values))


def _in_three(each: Property) -> Property:
    """Return a property as version 3.0 writes it: `TYPE=PREF`, pictures in base64, numbers and places as texts."""
    parameters = [
        parameter._replace(values=("b",)) if parameter.name == "ENCODING" else parameter
        for parameter in each.parameters
        if parameter != ("PREF", ("1",))
    ]
    if each.is_preferred and not any(value.lower() == "pref" for value in each.values_of("TYPE")):
        parameters.append(Parameter("TYPE", ("PREF",)))
    value = each.value
    if each.name in _MEDIA and (match := _DATA(value)):
        value = match[2]
        parameters = [parameter for parameter in parameters if parameter.name not in ("VALUE", "MEDIATYPE")]
        parameters += [Parameter("ENCODING", ("b",)), Parameter("TYPE", (match[1].rpartition("/")[2].upper(),))]
    if each.name == "TEL" and value[: len(_TEL)].lower() == _TEL:
        value, parameters = _EXTENSION_OF_URI.sub(r" ext. \1", value[len(_TEL) :]), _marked(parameters)
    if each.name == "GEO" and (match := _GEO(value)):
        value = f"{match[1]};{match[2]}"
    return each._replace(value=value, parameters=tuple(parameters))


def _marked(parameters: list[Parameter]) -> list[Parameter]:
    """Return the parameters of a number whose address is written as a text, with a mark by which that comes back."""
    marked = [Parameter(_OWN, ("uri",)) if each.name == "VALUE" else each for each in parameters]
    return marked if marked != parameters else [*marked, Parameter(_OWN, ("bare",))]


def _uri_of(text: str, parameters: Sequence[Parameter]) -> tuple[str, tuple[Parameter, ...]] | None:
    """Return a number as the address that it was before it was written in version 3.0, or None if it was none."""
    mark = next((each for each in parameters if each.name == _OWN and each.values in (("uri",), ("bare",))), None)
    if mark is None:
        return None
    found = (Parameter("VALUE", ("uri",)) if each is mark and each.values == ("uri",) else each for each in parameters)
    return _TEL + _EXTENSION.sub(r";ext=\1", text), tuple(each for each in found if each is not mark)


_OWN: Final = "X-HERDBOOK"
_TEL: Final = "tel:"
_EXTENSION_OF_URI: Final = re.compile(r";ext=(\d+)$", re.ASCII)
_EXTENSION: Final = re.compile(r" ext\. (\d+)$", re.ASCII)
_GEO: Final = re.compile(r"geo:(-?[\d.]+),(-?[\d.]+)", re.IGNORECASE).fullmatch
_OLD_GEO: Final = re.compile(r"(-?[\d.]+);(-?[\d.]+)").fullmatch
_MEDIA: Final = {"PHOTO": "image", "LOGO": "image", "SOUND": "audio", "KEY": "application"}
_DATA: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64\\?,(.*)", re.DOTALL | re.IGNORECASE).fullmatch
