"""Zip files, with the folders of the classes in them."""

from __future__ import annotations

import dataclasses
import functools
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, ClassVar, NamedTuple

from beam_job.core.errors import BadReferenceError, ExampleError, ReadError
from beam_job.core.records import Content, ErrorRow, ExampleRef, PassedOver, Piece
from beam_job.inputs.base import HEAD_BYTES, ExampleFiles, kind_of, readable_id
from beam_job.inputs.containers.base import (
    DAMAGED_STREAM,
    LONGEST_MEMBER,
    UNREADABLE,
    WHOLE_RUN,
    ContainerFormat,
    info_of,
    lost,
    runs,
)
from beam_job.inputs.containers.members import (
    folder_label,
    is_ignored,
    leads_out,
    member_id,
    plain_name,
    split_and_folders,
)
from beam_job.inputs.containers.zip_headers import MARK, salvaged_entries
from beam_job.runtime import storage
from beam_job.runtime.storage import FileInfo

# Members are read together up to so many bytes.
_PIECE_BYTES = storage.STREAMED_BYTES
# The header before a member (APPNOTE.TXT 4.3.7), and the lengths of the name and the extra field at its end.
_HEADER_BYTES, _LENGTHS = 30, struct.Struct("<HH")
# The record at the end (4.3.16): its mark, and where it has the number of members, modulo 65,536.
_END_MARK, _MOST_COUNTED = b"PK\x05\x06", 0x10000
_COUNT, _COUNT_PLACE = struct.Struct("<H"), 10
_ENCRYPTED = 0x1
_DAMAGES = (*DAMAGED_STREAM, zipfile.BadZipFile, struct.error, NotImplementedError)


@dataclasses.dataclass(frozen=True, slots=True)
class _Member:
    """A member of a zip file.

    Attributes:
      name: Its name without what does not matter.
      info: Its entry in the directory.
      room: How many bytes there are from its header to that of the next member.
      is_repeated: Whether there is a member of the same name before it.
    """

    name: str
    info: zipfile.ZipInfo
    room: int
    is_repeated: bool


class _Directory(NamedTuple):
    """What a zip file holds.

    Attributes:
      members: In the order in which they lie there.
      missing: How many more there should be.
      tail: The last bytes of the file.
    """

    members: list[_Member]
    missing: int
    tail: bytes


class Zip(ContainerFormat):
    """Members of zip files, in the order in which they lie there; a piece is a run of them.

    The label is the first folder below those that all examples share; a folder that is called as a split is one. The
    id is the zip file's name and the member's.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".zip",)

    def places(self, info: FileInfo) -> Iterator[str]:
        try:
            found = _directory(info).members
        except UNREADABLE:
            raise
        except _DAMAGES:
            found = []
        if found:
            yield from runs((member.room for member in found), _PIECE_BYTES)
        else:
            yield WHOLE_RUN

    def members(
        self, piece: Piece, files: ExampleFiles, contents: bool = True, request_bytes: int = storage.STREAMED_BYTES
    ) -> Iterator[Content | PassedOver]:
        info = info_of(piece)
        first, last = map(int, piece.place.split("-"))
        try:
            found, missing, tail = _directory(info)
        except UNREADABLE:
            raise
        except _DAMAGES as error:
            yield from self._salvaged(piece, files, contents, request_bytes)
            yield lost(piece, "lost", f"the directory of the zip file cannot be read, and members may be lost: {error}")
            return
        members = found[first : last + 1]
        ranges = [(member.info.header_offset, member.room) for member in members if _is_wanted(member)]
        with storage.open_random(info, ranges, request_bytes, tail) as file:
            yield from self._contents(piece, file, members, files, contents)
        if missing and last == len(found) - 1:
            problem = f"{missing} members are lost: the directory of the zip file is damaged"
            yield lost(piece, "lost", problem, missing)

    def _salvaged(
        self, piece: Piece, files: ExampleFiles, contents: bool, request_bytes: int
    ) -> Iterator[Content | PassedOver]:
        """The members that are found without the directory."""
        names: set[str] = set()
        with storage.open_random(info_of(piece), [(0, piece.size)], request_bytes) as file:
            for entry, length in salvaged_entries(file, piece.size):
                member = _Member(plain_name(entry.filename), entry, length, plain_name(entry.filename) in names)
                names.add(member.name)
                yield from self._contents(piece, file, [member], files, contents)

    def _contents(
        self, piece: Piece, file: BinaryIO, members: Iterable[_Member], files: ExampleFiles, contents: bool
    ) -> Iterator[Content | PassedOver]:
        for member in filter(_is_wanted, members):
            is_example = files.is_named(member.name)
            try:
                _check(member)
                if not is_example:
                    head = _read(file, member, HEAD_BYTES)
                    is_example = files.is_recognised(member.name, lambda head=head: head)  # type: ignore[misc]
                content = _read(file, member) if is_example and contents else b""
                yield self._content(piece, member, content) if is_example else kind_of(member.name)
            except ExampleError as error:
                yield self._content(piece, member, error) if is_example else kind_of(member.name)

    def _content(self, piece: Piece, member: _Member, content: bytes | ExampleError) -> Content:
        split, folders = split_and_folders(member.name.split("/")[:-1])
        ref = ExampleRef(
            id=member_id(piece.name, member.name),
            uri=piece.uri,
            label=folder_label(folders, split, piece.name),
            split=split,
            version=piece.version,
            member=f"zip:{readable_id(member.name)}",
        )
        if member.is_repeated:
            ref = dataclasses.replace(ref, id=f"{ref.id} (at {member.info.header_offset})")
        return ref, ErrorRow.of(ref, content) if isinstance(content, ExampleError) else content


def _is_wanted(member: _Member) -> bool:
    return not member.info.is_dir() and (leads_out(member.info.filename) or not is_ignored(member.name))


@functools.lru_cache(maxsize=4)
def _directory(info: FileInfo) -> _Directory:
    """The directory of a zip file, which is read once in a process."""
    tail = storage.read_tail(info)
    with storage.open_random(info, tail=tail) as file, zipfile.ZipFile(file) as archive:
        entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
        end = archive.start_dir
    (count,) = _COUNT.unpack_from(tail, tail.rfind(_END_MARK) + _COUNT_PLACE)
    missing = count - len(entries) % _MOST_COUNTED if count != _MOST_COUNTED - 1 else 0
    following = [entry.header_offset for entry in entries[1:]] + [end]
    members, names = [], set()
    for entry, after in zip(entries, following, strict=True):
        name = plain_name(entry.filename)
        members.append(_Member(name, entry, after - entry.header_offset, name in names))
        names.add(name)
    return _Directory(members, max(0, missing), tail)


def _check(member: _Member) -> None:
    """Checks what the directory says of a member.

    Raises:
      BadReferenceError: it cannot be an example.
    """
    info = member.info
    if leads_out(info.filename):
        raise BadReferenceError("expected a name within the archive, found one that leads out of it")
    if member.is_repeated:
        raise BadReferenceError(f"expected every name once, found {readable_id(member.name)!r} again")
    if info.flag_bits & _ENCRYPTED:
        raise BadReferenceError("expected a member that is not encrypted")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadReferenceError(
            f"expected a member that is stored or deflated, found one compressed by method {info.compress_type}"
        )
    if info.file_size > LONGEST_MEMBER:
        raise BadReferenceError(f"expected at most {LONGEST_MEMBER} bytes, found {info.file_size}")


def _read(file: BinaryIO, member: _Member, count: int | None = None) -> bytes:
    """The bytes of a member, or so many of its first ones.

    Raises:
      ReadError: they are damaged.
    """
    info = member.info
    try:
        file.seek(info.header_offset)
        header = file.read(_HEADER_BYTES)
        if not header.startswith(MARK):
            raise ValueError("there is no member where the directory says")
        before = _HEADER_BYTES + sum(_LENGTHS.unpack(header[-_LENGTHS.size :]))
        if before + info.compress_size > member.room:
            raise ValueError("it overlaps with the next one")
        file.seek(info.header_offset + before)
        wanted = info.file_size if count is None else min(count, info.file_size)
        if info.compress_type == zipfile.ZIP_STORED or not wanted:
            data = file.read(min(wanted, info.compress_size))
        else:
            data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(info.compress_size), wanted)
        if len(data) != wanted:
            raise ValueError(f"expected {wanted} bytes, found {len(data)}")
        if count is None and zlib.crc32(data) != info.CRC:
            raise ValueError("its checksum is wrong")
        return data
    except UNREADABLE:
        raise
    except _DAMAGES as error:
        raise ReadError(f"the member {readable_id(member.name)!r} cannot be read: {error}") from None
