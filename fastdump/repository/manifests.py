"""The manifests of a repository: a backup is there if and only if its manifest is.

They are those of folders (`layouts.manifest`), in a format of their own number, with pieces instead
of files. In an encrypted repository, a line in clear comes before the encrypted manifest: what
pruning and sweeping need, on a machine that cannot read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import msgspec
from blake3 import blake3

from fastdump.errors import BackupDamagedError, FormatError
from fastdump.layouts import manifest
from fastdump.layouts.ages import in_utc
from fastdump.model import (
    OPLOG,
    Backup,
    Bounds,
    Catalog,
    Chunk,
    Collection,
    Consistency,
    Namespace,
    Part,
    Piece,
    StoredCollection,
)
from fastdump.report import CollectionReport
from fastdump.repository.envelope import Envelope

__all__ = [
    "BACKUPS",
    "FORMAT",
    "LAYOUT",
    "Sealed",
    "backup_of",
    "bounds_of",
    "closed",
    "cut_before",
    "generation_of",
    "moment_in",
    "named",
    "new_name",
    "opened",
    "read",
    "renamed",
    "with_added",
    "written",
]

BACKUPS = "backups"
"""The folder that holds them."""
FORMAT = 2
"""Of manifests with pieces, and of the repository as a whole."""
LAYOUT = "repository"

_NAME_BYTES = 32
_WORD_BYTES = 8

_NAME_FORMAT = "%Y-%m-%d_%H-%M-%S"
_NAME = re.compile(r"(\d{4}-\d{2}-\d{2}_\d{2}-\d{2}-\d{2})Z\.([0-9a-f]{5})[0-9a-f]{4}")


def new_name(started: datetime) -> str:
    """Return a name for a backup: when it was begun, in UTC, and what no other has.

    Microseconds come first in that, so that names sort as backups were begun.
    """
    distinct = f"{started.microsecond:05x}{uuid4().hex[:4]}"
    return f"{started.astimezone(UTC):{_NAME_FORMAT}}Z.{distinct}"


def moment_in(name: str) -> datetime | None:
    """Return when a backup was begun, as its name says; None if that is not the name of one."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    try:
        second = datetime.strptime(found[1], _NAME_FORMAT)
        return second.replace(microsecond=int(found[2], 16), tzinfo=UTC)
    except ValueError:
        return None


def written(
    catalog: Catalog,
    started: datetime,
    ended: datetime,
    consistency: Consistency,
    parts: Mapping[Namespace, Sequence[Part]],
    cuts: Mapping[Namespace, Bounds],
    key: bytes | None,
    generation: str,
) -> manifest.Manifest:
    """Return the manifest of a backup.

    Args:
        catalog: what was backed up.
        started: when it began.
        ended: when it ended.
        consistency: how its documents relate in time.
        parts: what became of the chunks of each collection, in their order.
        cuts: where collections were cut.
        key: that of the names of pieces, if the repository does not say it.
        generation: that of the repository, if it is encrypted.
    """
    entries = [
        _entry(one, parts.get(one.namespace, ()), cuts.get(one.namespace, Bounds()))
        for one in catalog.collections
    ]
    described = manifest.describe(
        catalog, LAYOUT, started, ended, consistency, entries, form=FORMAT
    )
    if key is None:
        return described
    return msgspec.structs.replace(described, key=key.hex(), generation=generation)


def _entry(collection: Collection, parts: Sequence[Part], bounds: Bounds) -> manifest.Entry:
    report = CollectionReport.of_written(collection.namespace, collection.kind, parts)
    if not collection.has_data:
        return manifest.entry(collection, None, report, None)
    pieces = [piece for part in parts for piece in part.pieces]
    described = manifest.entry(collection, None, report, _digest(pieces))
    return msgspec.structs.replace(
        described,
        pieces=[_stored(piece) for piece in pieces],
        cuts=manifest.Cuts(list(bounds.ids), bounds.by_filter),
    )


def _stored(piece: Piece) -> manifest.StoredPiece:
    return manifest.StoredPiece(
        piece.name.hex(), piece.documents, piece.raw_bytes, piece.file_bytes
    )


def named(found: manifest.Manifest | Sealed) -> Iterator[bytes]:
    """Yield the names of the pieces that a backup needs."""
    if isinstance(found, Sealed):
        digits = found.pieces
        yield from (digits[at : at + _NAME_BYTES] for at in range(0, len(digits), _NAME_BYTES))
        return
    for one in found.collections:
        if one.pieces is not msgspec.UNSET:
            yield from (bytes.fromhex(piece.name) for piece in one.pieces)


class Sealed(msgspec.Struct, frozen=True):
    """The line before an encrypted manifest."""

    format: int
    started: datetime
    databases: str
    """A word that is the same for backups of the same databases, and tells nothing else."""
    file_bytes: int
    """Size of the pieces."""
    pieces: bytes
    """The names of the pieces, 32 bytes each, in base64."""
    manifest: str
    """BLAKE3 of the encrypted manifest, hexadecimal."""
    checksum: str
    """Checksum of this line, computed as in manifests."""
    generation: str = ""
    """The generation of the repository that the backup belongs to: of the same keys."""


_SEALED = msgspec.json.Decoder(Sealed)


def closed(found: manifest.Manifest, envelope: Envelope) -> bytes:
    """Return a manifest as an object."""
    content = manifest.write(found, indent=0)
    if not envelope.recipients:
        return content
    assert found.key is not msgspec.UNSET  # noqa: S101 - each encrypted backup has one
    encrypted = envelope.close(content)
    told = "\0".join(found.databases).encode()
    line = Sealed(
        FORMAT,
        found.started,
        blake3(told, key=bytes.fromhex(found.key)).hexdigest(_WORD_BYTES),
        sum(one.file_bytes for one in found.collections),
        b"".join(dict.fromkeys(named(found))),
        blake3(encrypted).hexdigest(),
        manifest.NO_CHECKSUM,
        found.generation or "",
    )
    content = msgspec.json.format(msgspec.json.encode(line), indent=0)
    return manifest.sealed(content) + b"\n" + encrypted


def generation_of(content: bytes, where: str) -> str:
    """Return the generation that an encrypted manifest belongs to, which needs no key.

    Raises:
        BackupDamagedError: it is not what was written.
    """
    return _parted(content, where)[0].generation


def renamed(
    found: manifest.Manifest, pieces: Mapping[str, Piece], key: bytes, generation: str
) -> manifest.Manifest:
    """Return the manifest of the same backup in another generation.

    Args:
        found: the manifest.
        pieces: the new pieces by the names of the old ones, hexadecimal.
        key: the key of the new names.
        generation: the new generation.
    """
    entries = [_renamed(one, pieces) for one in found.collections]
    return msgspec.structs.replace(
        found,
        collections=entries,
        checksum=manifest.NO_CHECKSUM,
        key=key.hex(),
        generation=generation,
    )


def _renamed(entry: manifest.Entry, pieces: Mapping[str, Piece]) -> manifest.Entry:
    if entry.pieces is msgspec.UNSET:
        return entry
    found = [pieces[one.name] for one in entry.pieces]
    return msgspec.structs.replace(
        entry,
        pieces=[_stored(one) for one in found],
        digest=_digest(found),
        file_bytes=sum(one.file_bytes for one in found),
    )


def _digest(pieces: Iterable[Piece]) -> str:
    return blake3(b"".join(piece.name for piece in pieces)).hexdigest()


def _parted(content: bytes, where: str) -> tuple[Sealed, bytes]:
    line, _, encrypted = content.partition(b"\n")
    try:
        found = _SEALED.decode(line)
    except ValueError as error:
        raise BackupDamagedError(f"{where}: it is no manifest: {error}") from error
    is_whole = manifest.is_sealed(line, found.checksum)
    if not is_whole or blake3(encrypted).hexdigest() != found.manifest:
        raise BackupDamagedError(f"{where}: it is not what was written")
    return found, encrypted


def opened(content: bytes, envelope: Envelope, where: str) -> manifest.Manifest | Sealed:
    """Return the manifest in an object, or what is known of it without its key.

    Raises:
        BackupDamagedError: it is not what was written, or of a later format.
    """
    if not envelope.recipients:
        return read(content, where)
    sealed, encrypted = _parted(content, where)
    try:
        content = envelope.open(encrypted)
    except FormatError:
        return sealed
    found = read(content, where)
    if set(named(found)) != set(named(sealed)):
        raise BackupDamagedError(f"{where}: its first line names other pieces than the manifest")
    return found


def read(content: bytes, where: str) -> manifest.Manifest:
    """Return the manifest in the content of an object.

    Raises:
        BackupDamagedError: it is not what was written, or of a later format.
    """
    try:
        found = manifest.read(content, FORMAT)
        is_unchanged = manifest.is_unchanged(content, FORMAT)
    except FormatError as error:
        raise BackupDamagedError(f"{where}: {error}") from error
    if not is_unchanged:
        raise BackupDamagedError(f"{where}: it is not what was written")
    return found


def backup_of(name: str, where: str, found: manifest.Manifest | Sealed | None) -> Backup:
    """Return the backup that a manifest describes.

    Args:
        name: that of the backup.
        where: the address of the manifest.
        found: the manifest; None if it is damaged.
    """
    moment = moment_in(name) or datetime.min.replace(tzinfo=UTC)
    taken = moment.astimezone().replace(tzinfo=None) if moment_in(name) else datetime.min
    if found is None:
        return Backup(name, where, taken, moment, (), has_manifest=False, layout=LAYOUT)
    if isinstance(found, Sealed):
        return Backup(
            name,
            where,
            taken,
            in_utc(found.started),
            (),
            has_manifest=True,
            layout=LAYOUT,
            databases=(found.databases,),
            sealed_bytes=found.file_bytes,
        )
    collections = stored(found)
    return Backup(
        name,
        where,
        taken,
        in_utc(found.started),
        tuple(one for one in collections if one.namespace != OPLOG),
        has_manifest=True,
        oplog=next((one for one in collections if one.namespace == OPLOG), None),
        layout=found.layout,
        databases=found.databases,
        server_version=found.server.version,
        started=found.started,
        consistency=found.how_consistent,
    )


def stored(found: manifest.Manifest) -> list[StoredCollection]:
    """Return the collections that a manifest describes; the path of each is its name."""
    return [
        manifest.stored(
            found, one, Path(str(Namespace(one.database or "", one.name))), latest_only=False
        )
        for one in found.collections
    ]


def bounds_of(found: manifest.Manifest) -> dict[Namespace, Bounds]:
    """Return where a backup cut its collections along `_id`."""
    return {
        Namespace(one.database or "", one.name): Bounds(
            ids=tuple(one.cuts.ids), by_filter=one.cuts.by_filter
        )
        for one in found.collections
        if one.cuts is not msgspec.UNSET and one.cuts.ids
    }


def cut_before(chunks: Sequence[Chunk]) -> Bounds:
    """Return the bounds between the chunks of a collection."""
    ids = tuple(one.range.lower for one in chunks if one.range.lower is not None)
    return Bounds(ids=ids, by_filter=any(one.source.by_filter for one in chunks))


def with_added(backups: Iterable[Backup]) -> Iterator[Backup]:
    """Yield backups with the size of those pieces that none before them has."""
    seen = set[bytes]()
    for backup in backups:
        added = 0
        oplog = [backup.oplog] if backup.oplog else []
        for one in (*backup.collections, *oplog):
            for piece in one.file.pieces if one.file else ():
                added += 0 if piece.name in seen else piece.file_bytes
                seen.add(piece.name)
        # Nobody knows the sizes of the pieces of one that is encrypted.
        yield replace(backup, added_bytes=None if backup.sealed_bytes is not None else added)
