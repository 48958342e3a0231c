"""Pieces of a page that are compressed apart and read as one."""

import gzip
import importlib.util
import shutil
import subprocess
import sys
import zlib
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.exposition import segment
from exporter.metrics.exposition.checksum import crc32_combine
from exporter.metrics.exposition.segment import Segment
from exporter.metrics.web.app import in_chunks

PIECES = [b"", b"# TYPE a gauge\na 1\n", b"b 2\n" * 100_000, bytes(range(256)) * 300, b""]


@pytest.fixture(params=["isal", "zlib"])
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module as it is, and a copy of it as it is where isal has no wheel."""
    if request.param == "isal":
        return segment
    monkeypatch.setitem(sys.modules, "isal", None)
    monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)
    spec = importlib.util.find_spec("exporter.metrics.exposition.segment")
    assert spec is not None
    assert spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    assert vars(copy)["codec"] is zlib
    return copy


def test_segments_are_one_gzip_stream(codec: ModuleType) -> None:
    segments = [codec.Segment.of(piece) for piece in PIECES]

    stream = b"".join(codec.gzip(segments))

    # A reader of one stream: nothing stands after its end.
    reader = zlib.decompressobj(zlib.MAX_WBITS | 16)
    assert reader.decompress(stream) == b"".join(PIECES)
    assert (reader.eof, reader.unused_data) == (True, b"")
    assert codec.gzip_length(segments) == len(stream)
    assert codec.length(segments) == sum(map(len, PIECES))


def test_the_text_comes_in_parts_of_a_size(codec: ModuleType) -> None:
    parts = list(codec.text([codec.Segment.of(piece) for piece in PIECES], 1000))

    assert b"".join(parts) == b"".join(PIECES)
    assert max(map(len, parts)) == 1000


def test_segments_may_come_in_any_order_and_more_than_once() -> None:
    first, second = Segment.of(b"first\n" * 50), Segment.compress([b"sec", b"ond\n"])

    stream = b"".join(segment.gzip([second, first, second]))

    assert gzip.decompress(stream) == b"second\n" + b"first\n" * 50 + b"second\n"


def test_gunzip_reads_it(codec: ModuleType) -> None:
    gunzip = shutil.which("gunzip")
    assert gunzip is not None
    stream = b"".join(codec.gzip([codec.Segment.of(piece) for piece in PIECES]))

    read = subprocess.run([gunzip, "-c"], input=stream, capture_output=True, check=True)

    assert (read.stdout, read.stderr) == (b"".join(PIECES), b"")


def test_no_segments_are_an_empty_stream() -> None:
    assert gzip.decompress(b"".join(segment.gzip([]))) == b""


@given(st.binary(), st.binary())
def test_the_checksum_of_two_texts_is_that_of_both_together(first: bytes, second: bytes) -> None:
    combined = crc32_combine(zlib.crc32(first), zlib.crc32(second), len(second))

    assert combined == zlib.crc32(first + second)


@given(st.lists(st.binary(max_size=50)), st.integers(min_value=1, max_value=30))
def test_chunks_are_full_but_for_the_last(pieces: list[bytes], size: int) -> None:
    chunks = list(in_chunks(pieces, size))

    assert b"".join(chunks) == b"".join(pieces)
    assert all(len(chunk) == size for chunk in chunks[:-1])
    assert all(0 < len(chunk) <= size for chunk in chunks)
