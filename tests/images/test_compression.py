"""Compressing layers: the same content gives the same bytes, and so the same digest."""

from __future__ import annotations

import gzip
import random

from pycontainers.distribution.compression import Compressor

CONTENT = (bytes(range(256)) * 30 + bytes(5000) + b"abc" * 1000) * 120


def _compressed(pieces: list[int]) -> bytes:
    compressor, found, at = Compressor(), b"", 0
    while at < len(CONTENT):
        for size in pieces:
            found += compressor.compress(CONTENT[at : at + size])
            at += size
    return found + compressor.flush()


def test_the_pieces_that_content_comes_in_do_not_matter() -> None:
    chance = random.Random(0)
    ways = [[1 << 20], [65536], [4096, 1 << 19], [1 << 18], [chance.randrange(1, 99_999)]]

    results = {_compressed(way) for way in ways}

    assert len(results) == 1
    assert gzip.decompress(results.pop()) == CONTENT


def test_nothing_is_a_stream_too() -> None:
    compressor = Compressor()

    assert gzip.decompress(compressor.compress(b"") + compressor.flush()) == b""
