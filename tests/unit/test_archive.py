"""The form of an archive, and what becomes of one that is cut or damaged anywhere."""

from __future__ import annotations

from collections.abc import Iterator

import bson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastdump.codec import archive
from fastdump.codec.archive import Block, Described, End, Reader
from fastdump.errors import FormatError
from fastdump.model import Namespace

ONE, TWO = Namespace("db", "one"), Namespace("db", "zwei.drei ü")
CHUNK = st.integers(1, 70)


def documents(first: int, count: int) -> bytes:
    return b"".join(bson.encode({"_id": number, "x": "y" * 9}) for number in range(first, count))


def crc_of(*parts: bytes) -> int:
    return archive.combined((archive.crc64(part), len(part)) for part in parts)


def whole() -> bytes:
    """Two namespaces, interleaved."""
    a, b, c = documents(0, 3), documents(0, 1), documents(3, 9)
    described = [Described(ONE, b'{"indexes": []}', "collection"), Described(TWO, b"", "view")]
    return b"".join(
        (
            archive.prelude(2, "6.0.5", "test", described),
            archive.block(ONE, a),
            archive.block(TWO, b),
            archive.block(ONE, c),
            archive.end(ONE, crc_of(a, c)),
            archive.end(TWO, crc_of(b)),
        )
    )


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def read(data: bytes, size: int = 50) -> tuple[dict[Namespace, bytes], set[Namespace], bool]:
    """The documents of each namespace, which ended well, and whether all of it could be read."""
    reader = Reader(pieces(data, size))
    found: dict[Namespace, bytes] = {}
    ended = set()
    try:
        prelude = reader.prelude()
        for event in reader.blocks([one.namespace for one in prelude.collections]):
            if isinstance(event, Block):
                found[event.namespace] = found.get(event.namespace, b"") + event.batch.data
            elif event.intact:
                ended.add(event.namespace)
            else:
                return found, ended, False
    except FormatError:
        return found, ended, False
    return found, ended, True


@given(CHUNK)
def test_what_is_written_is_read(size: int) -> None:
    found, ended, complete = read(whole(), size)
    assert complete
    assert found == {ONE: documents(0, 9), TWO: documents(0, 1)}
    assert ended == {ONE, TWO}


def test_the_head() -> None:
    prelude = Reader(iter([whole()])).prelude()
    assert (prelude.server_version, prelude.tool_version) == ("6.0.5", "test")
    assert prelude.collections[0] == Described(ONE, b'{"indexes": []}', "collection")
    assert prelude.collections[1] == Described(TWO, b"", "view")


@given(st.integers(0, len(whole()) - 1), CHUNK)
def test_a_cut_archive_is_never_complete(length: int, size: int) -> None:
    found, _ended, complete = read(whole()[:length], size)
    assert not complete
    # What came before the cut is there, whole documents of it.
    assert documents(0, 9).startswith(found.get(ONE, b""))
    bson.decode_all(found.get(ONE, b""))


@given(st.integers(0, 8 * len(whole()) - 1))
def test_a_flipped_bit_is_noticed_or_is_in_a_description(bit: int) -> None:
    damaged = bytearray(whole())
    damaged[bit // 8] ^= 1 << bit % 8
    head = whole().index(b"\xff\xff\xff\xff") + 4
    found, ended, complete = read(bytes(damaged))
    if bit // 8 >= head and complete:
        assert (found, ended) == ({ONE: documents(0, 9), TWO: documents(0, 1)}, {ONE, TWO})


@given(st.binary(max_size=300), CHUNK)
@example(b"\xff\xff\xff\xff", 4)
def test_any_bytes_after_a_head(data: bytes, size: int) -> None:
    head = archive.prelude(1, "", "", [Described(ONE, b"", "")])
    read(head + data, size)
    read(archive.MAGIC + data, size)
    read(data, size)


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (b"\0\0\0\0", "length of 0 bytes"),
        (b"\xff\xff\xff\x7f", "length of 2147483647 bytes"),
        (b"\xfe\xff\xff\xff", "length of -2 bytes"),
        (b"\xff\xff\xff\xff", "no header"),
        (archive.block(Namespace("db", "other"), b""), "is not in the head"),
        (archive.end(ONE, 0) + archive.block(ONE, b""), "has already ended"),
        (archive.block(ONE, b"\0\0\0\0"), "length of 0 bytes"),
        (archive.block(ONE, b"\x06\0\0\0\0\1"), "does not end with a zero"),
        (bson.encode({"db": 1, "collection": "one"}), "the field db of a header is missing"),
        (archive.block(ONE, documents(0, 1)), "ends before the end of db.one"),
    ],
)
def test_what_is_wrong_is_said(rest: bytes, said: str) -> None:
    head = archive.prelude(1, "", "", [Described(ONE, b"", "")])
    reader = Reader(iter([head + rest]))
    reader.prelude()
    with pytest.raises(FormatError, match=rf"{said}.*at byte \d+"):
        list(reader.blocks([ONE]))


def test_documents_that_are_not_those_that_were_written() -> None:
    head = archive.prelude(1, "", "", [Described(ONE, b"", "")])
    reader = Reader(iter([head, archive.block(ONE, documents(0, 2)), archive.end(ONE, 5)]))
    reader.prelude()
    assert [event for event in reader.blocks([ONE]) if isinstance(event, End)] == [End(ONE, False)]
