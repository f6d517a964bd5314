from __future__ import annotations

import gzip as oracle
from pathlib import Path

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdump.codec import gzip
from fastdump.codec.bson import Batch
from fastdump.errors import FormatError

LEVELS = range(4)

payloads = st.one_of(
    st.binary(max_size=5000),
    st.builds(lambda one, n: one * n, st.binary(max_size=40), st.integers(0, 500)),
)


def packed(data: bytes, documents: int = 0, level: int = 1) -> bytes:
    return gzip.pack(Batch(data, documents), level)


@given(payloads, st.sampled_from(LEVELS))
def test_a_member_is_gzip_and_comes_back(data: bytes, level: int) -> None:
    member = packed(data, min(7, len(data)), level)
    assert oracle.decompress(member) == data
    described = gzip.header(member, 0)
    assert described.file_bytes == len(member)
    assert described.raw_bytes == len(data)
    assert gzip.unpack(member, described) == data


@given(st.lists(payloads, min_size=1, max_size=8))
def test_hopping_finds_every_member_without_inflating(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("hop") / "file.gz"
    path.write_bytes(b"".join(map(packed, parts)))
    with path.open("rb") as file:
        found = list(gzip.members(file.fileno(), 0, path.stat().st_size))
    content = path.read_bytes()
    assert [
        gzip.unpack(content[one.offset : one.offset + one.file_bytes], one) for one in found
    ] == parts
    assert b"".join(gzip.stream(path)) == b"".join(parts)


@given(st.binary(min_size=1, max_size=300), st.data())
def test_no_flipped_bit_changes_what_is_read(data: bytes, draw: st.DataObject) -> None:
    member = packed(data, 1)
    place = draw.draw(st.integers(0, len(member) * 8 - 1))
    flipped = bytearray(member)
    flipped[place // 8] ^= 1 << place % 8
    try:
        described = gzip.header(bytes(flipped[: gzip.HEADER_BYTES]), 0)
        assert gzip.unpack(bytes(flipped), described) == data
        # Only what is not the data may pass here; the digest of the file finds that.
        assert described.documents != 1 or place // 8 >= gzip.HEADER_BYTES
    except FormatError:
        pass


@given(st.binary(max_size=300), st.integers(1, 60))
def test_a_cut_member_is_refused(data: bytes, missing: int) -> None:
    member = packed(data)
    described = gzip.header(member, 0)
    with pytest.raises(FormatError):
        gzip.unpack(member[: max(0, len(member) - missing)], described)


def test_a_member_that_holds_more_than_it_says_is_not_inflated() -> None:
    bomb = bytearray(packed(bytes(50_000_000)))
    bomb[20:24] = (1000).to_bytes(4, "little")
    bomb[24:28] = (0).to_bytes(4, "little")
    with pytest.raises(FormatError, match=r"impossible|promises"):
        gzip.unpack(bytes(bomb), gzip.header(bytes(bomb), 0))


@pytest.mark.parametrize(
    ("raw_bytes", "documents", "total"),
    [(2**32 - 1, 1, 100), (100, 101, 100), (100, 1, 2**31), (100, 1, 10)],
)
def test_lying_lengths_are_refused_before_memory_is_reserved(
    raw_bytes: int, documents: int, total: int
) -> None:
    member = bytearray(packed(b"x"))
    for place, number in zip((16, 20, 24), (total, raw_bytes, documents), strict=True):
        member[place : place + 4] = number.to_bytes(4, "little")
    with pytest.raises(FormatError, match="impossible"):
        gzip.header(bytes(member), 0)


def test_garbage_between_members_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(packed(b"one") + b"garbage" * 10 + packed(b"two"))
    with path.open("rb") as file, pytest.raises(FormatError, match="no member begins"):
        list(gzip.members(file.fileno(), 0, path.stat().st_size))


def test_a_foreign_file_streams_and_its_damage_is_said(tmp_path: Path) -> None:
    content = b"".join(bson.encode({"_id": number}) for number in range(50_000))
    path = tmp_path / "foreign.gz"
    path.write_bytes(oracle.compress(content))
    assert b"".join(gzip.stream(path)) == content
    path.write_bytes(oracle.compress(content)[:-200])
    with pytest.raises(FormatError, match="inflated bytes"):
        list(gzip.stream(path))
