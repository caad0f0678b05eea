"""A 32-bit little-endian ELF file: its sections, symbols and what is loaded where."""

import struct
from dataclasses import dataclass
from pathlib import Path

from firnline.errors import DeliveryError

_HEADER = struct.Struct("<16sHHIIIIIHHHHHH")
_SEGMENT = struct.Struct("<IIIIIIII")
_SECTION_HEADER = struct.Struct("<IIIIIIIIII")
_SYMBOL = struct.Struct("<IIIBBH")
_LITTLE_32 = b"\x7fELF\x01\x01"
_LOAD, _SYMBOLS = 1, 2  # kinds of segment and of section
_FUNCTION, _SECTION = 2, 3  # kinds of symbol


@dataclass(frozen=True)
class Elf:
    """A linked program.

    Attributes:
        loaded: Address at run time and bytes of everything that is loaded.
        sizes: Bytes of every section by name.
        symbols: Address of every symbol by name; Arm's mark of a Thumb function, the lowest bit,
            is taken away.
    """

    loaded: tuple[tuple[int, bytes], ...]
    sizes: dict[str, int]
    symbols: dict[str, int]


def read(path: Path) -> Elf:
    """Read an ELF file.

    Raises:
        DeliveryError: E41 when it is none, or is cut off.
    """
    content = path.read_bytes()
    try:
        if not content.startswith(_LITTLE_32):
            raise ValueError("no 32-bit little-endian ELF")
        return _read(content)
    except (ValueError, IndexError, struct.error) as error:
        raise DeliveryError(
            "E41", found=str(error), where=str(path), mend="build the image again"
        ) from error


def _read(content: bytes) -> Elf:
    header = _HEADER.unpack_from(content)
    segments_at, sections_at = header[5], header[6]
    segment_count, section_count, names_at = header[10], header[12], header[13]
    loaded = []
    for place in range(segment_count):
        kind, offset, address, _, size = _SEGMENT.unpack_from(
            content, segments_at + place * _SEGMENT.size
        )[:5]
        if kind == _LOAD and size:
            loaded.append((address, _part(content, offset, size)))
    sections = [
        _SECTION_HEADER.unpack_from(content, sections_at + place * _SECTION_HEADER.size)
        for place in range(section_count)
    ]
    texts = sections[names_at]
    sizes = {_text(content, texts[4] + section[0]): section[5] for section in sections}
    symbols: dict[str, int] = {}
    for section in sections:
        if section[1] == _SYMBOLS:
            symbols |= _symbols(content, section, sections[section[6]])
    return Elf(tuple(loaded), sizes, symbols)


def _symbols(content: bytes, section: tuple[int, ...], texts: tuple[int, ...]) -> dict[str, int]:
    found = {}
    for entry in _SYMBOL.iter_unpack(_part(content, section[4], section[5])):
        name, address, _, info, _, _ = entry
        kind = info & 0xF
        if name and kind < _SECTION:
            found[_text(content, texts[4] + name)] = address & ~int(kind == _FUNCTION)
    return found


def _part(content: bytes, offset: int, size: int) -> bytes:
    if offset + size > len(content):
        raise ValueError("the file is cut off")
    return content[offset : offset + size]


def _text(content: bytes, offset: int) -> str:
    return content[offset : content.index(b"\0", offset)].decode()
