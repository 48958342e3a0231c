"""Pieces of a page, each compressed once, that follow each other in one gzip stream.

A piece that did not change since the last page, or that several pages have, need not be written,
compressed or kept again. One stream and not one for each piece: not every client reads on after the first.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

try:
    from isal import isal_zlib as codec
    from isal.isal_zlib import crc32_combine
except ImportError:  # a platform without wheels of isal: slower, and the same pages
    import zlib as codec  # type: ignore[no-redef]

    from exporter.metrics.exposition.checksum import crc32_combine

LEVEL = 1
_RAW = -zlib.MAX_WBITS
_DEFLATED_BYTES = 16 * 1024
# Deflated, of no known time, by an unknown system.
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_LAST_BLOCK = b"\x03\0"


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of text, deflated so that it can stand before and after any other. Units: bytes."""

    deflated: bytes
    crc: int
    length: int

    @classmethod
    def of(cls, *pieces: bytes) -> Segment:
        """The pieces as one segment."""
        return cls.compress(pieces)

    @classmethod
    def compress(cls, pieces: Iterable[bytes]) -> Segment:
        """The pieces as one segment; only one of them need be in memory at a time."""
        compressor = codec.compressobj(LEVEL, zlib.DEFLATED, _RAW)
        deflated, crc, length = [], 0, 0
        for piece in pieces:
            deflated.append(compressor.compress(piece))
            crc, length = codec.crc32(piece, crc), length + len(piece)
        # What follows refers to nothing before it, and begins at a byte boundary.
        deflated.append(compressor.flush(zlib.Z_FULL_FLUSH))
        return cls(b"".join(deflated), crc, length)


def length(segments: Iterable[Segment]) -> int:
    """How many bytes the text has."""
    return sum(segment.length for segment in segments)


def gzip_length(segments: Iterable[Segment]) -> int:
    """How many bytes `gzip` gives."""
    frame = len(_HEADER) + len(_LAST_BLOCK) + 8
    return frame + sum(len(segment.deflated) for segment in segments)


def gzip(segments: Iterable[Segment]) -> Iterator[bytes]:
    """The segments as one gzip stream, in parts of any size."""
    yield _HEADER
    crc = total = 0
    for segment in segments:
        crc = crc32_combine(crc, segment.crc, segment.length)
        total += segment.length
        yield segment.deflated
    yield _LAST_BLOCK + struct.pack("<II", crc, total & 0xFFFFFFFF)


def text(segments: Sequence[Segment], size: int) -> Iterator[bytes]:
    """The text in parts of at most `size` bytes, so that it is never whole in memory."""
    for segment in segments:
        decompressor = zlib.decompressobj(_RAW)
        # In parts, since the decompressor copies what it has not consumed.
        for start in range(0, len(segment.deflated), _DEFLATED_BYTES):
            rest = segment.deflated[start : start + _DEFLATED_BYTES]
            while rest:
                yield decompressor.decompress(rest, size)
                rest = decompressor.unconsumed_tail
