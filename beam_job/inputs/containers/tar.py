"""Tar files: WebDataset's, whose members belong together by their names, and those of class folders."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from beam_job.core.errors import BadReferenceError, ExampleError, ReadError
from beam_job.core.labels import Label
from beam_job.core.records import Content, ErrorRow, ExampleRef, PassedOver, Piece
from beam_job.core.values import LINE_BREAKS
from beam_job.inputs.base import HEAD_BYTES, ExampleFiles, kind_of, readable_id
from beam_job.inputs.containers.base import DAMAGED_STREAM, UNREADABLE, ContainerFormat, info_of, lost
from beam_job.inputs.containers.members import folder_label, is_ignored, member_id, plain_name, split_and_folders
from beam_job.inputs.containers.tar_entries import Entry, Lost, tar_entries
from beam_job.inputs.labels import as_label, kept_of
from beam_job.runtime import storage

# WebDataset's rule: up to the first dot of the name is the key, the rest is the suffix.
_KEY = re.compile(r"((?:.*/)?[^/.]+)\.([^/]*)", re.DOTALL)
# A text beside an example is its label only if it may be a name rather than a caption.
_LONGEST_NAME = 100
_CLASS, _TEXT, _JSON = "cls", "txt", "json"


@dataclasses.dataclass(frozen=True, slots=True)
class _Member:
    """A member of a sample.

    Attributes:
      entry: As it was found.
      is_example: Whether it is an example, by its suffix or by its first bytes.
      content: What was read of it: all, if it is an example or may hold a label.
    """

    entry: Entry
    is_example: bool
    content: bytes | ExampleError


class Tar(ContainerFormat):
    """Members of tar files; those that stand together and have the same key are a sample, as in WebDataset.

    A sample's label is its ``.cls``, or what ``--label_key`` names, or a short ``.txt`` where there is no ``.json``.
    Without any, it is the folder that the example is in. The id is the tar file's name and the member's.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
    takes: ClassVar[frozenset[str]] = frozenset({"label_key", "keep_columns"})

    def members(
        self, piece: Piece, files: ExampleFiles, contents: bool = True, request_bytes: int = storage.STREAMED_BYTES
    ) -> Iterator[Content | PassedOver]:
        seen: set[str] = set()
        losses = 0
        with storage.open_stream(info_of(piece), request_bytes) as file:
            for sample in self._samples(tar_entries(file, piece.size), files, contents):
                if isinstance(sample, Lost):
                    losses += 1
                    yield lost(piece, f"loss {losses}", f"a part of the tar file is lost: {sample.problem}")
                else:
                    yield from self._examples(piece, sample, files, seen)

    def _samples(
        self, entries: Iterable[Entry | Lost], files: ExampleFiles, contents: bool
    ) -> Iterator[list[_Member] | Lost]:
        """The members that stand together and have the same key, read as far as they are wanted."""
        sample: list[_Member] = []
        for entry in entries:
            if isinstance(entry, Entry) and entry.problem is None and is_ignored(entry.name):
                continue
            if sample and (isinstance(entry, Lost) or _key(entry.name) != _key(sample[0].entry.name)):
                yield sample
                sample = []
            if isinstance(entry, Lost):
                yield entry
            else:
                sample.append(self._read(entry, files, contents))
        if sample:
            yield sample

    def _read(self, entry: Entry, files: ExampleFiles, contents: bool) -> _Member:
        is_example = files.is_named(entry.name)
        if entry.problem is not None:
            return _Member(entry, is_example, BadReferenceError(entry.problem))
        try:
            if not is_example and _suffix(entry.name) not in self._label_suffixes:
                is_example = files.is_recognised(entry.name, lambda: entry.read(HEAD_BYTES))
                if not is_example:
                    return _Member(entry, is_example, b"")
            return _Member(entry, is_example, entry.read(entry.size) if contents or not is_example else b"")
        except UNREADABLE:
            raise
        except DAMAGED_STREAM as error:
            problem = ReadError(f"the member {readable_id(entry.name)!r} cannot be read: {error}")
            return _Member(entry, is_example, problem)

    def _examples(
        self, piece: Piece, sample: list[_Member], files: ExampleFiles, seen: set[str]
    ) -> Iterator[Content | PassedOver]:
        """The examples of a sample, and what else is in it."""
        parts = {_suffix(member.entry.name): member for member in sample}
        has_label = not self._label_suffixes.isdisjoint(parts)
        plain = {suffix for suffix, member in parts.items() if member.is_example and "." not in suffix}
        for member in sample:
            first, _, last = _suffix(member.entry.name).rpartition(".")
            # A mask beside an example, such as a.seg.png beside a.jpg, is none; a.2.jpg may be another example.
            is_mask = bool(first and plain) and (has_label or last not in plain)
            if member.is_example and not is_mask:
                yield self._content(piece, member, parts, seen)
            elif not (plain and last in self._label_suffixes):
                yield kind_of(member.entry.name)

    @property
    def _label_suffixes(self) -> frozenset[str]:
        """The suffixes of members that may say what the label is."""
        return frozenset((_CLASS, _TEXT, _JSON, (self.columns.label_key or _CLASS).lower()))

    def _content(self, piece: Piece, member: _Member, parts: dict[str, _Member], seen: set[str]) -> Content:
        name = plain_name(member.entry.name)
        example_id, folders = member_id(piece.name, name), name.split("/")[:-1]
        split, classes = split_and_folders(folders)
        ref = ExampleRef(example_id, piece.uri, split=split, version=piece.version, member=f"tar:{readable_id(name)}")
        try:
            if name in seen:
                ref = dataclasses.replace(ref, id=f"{example_id} ({len(seen)})")
                raise BadReferenceError(f"expected every name once in {piece.name}, found {name!r} again")
            if isinstance(member.content, ExampleError):
                raise member.content
            label = self._label(parts, member)
            if label is None:
                label = folder_label(classes, split, piece.name)
            return dataclasses.replace(ref, label=label, kept=self._kept(parts)), member.content
        except ExampleError as error:
            return ref, ErrorRow.of(ref, error)
        finally:
            seen.add(name)

    def _kept(self, parts: dict[str, _Member]) -> tuple[str, ...]:
        """The values in the ``.json`` of a sample that are carried to the output."""
        if not self.columns.kept:
            return ()
        content = _object(_bytes(parts[_JSON])) if _JSON in parts else {}
        return kept_of({key: _value_at(content, key, strict=False) for key in self.columns.kept}, self.columns.kept)

    def _label(self, parts: dict[str, _Member], example: _Member) -> Label:
        """What the members of a sample say of its label.

        Raises:
          BadReferenceError: that cannot be understood.
        """
        key = self.columns.label_key
        if key is not None and key.lower() not in parts:
            found = _value_at(_object(_bytes(parts[_JSON])), key) if _JSON in parts else None
            return as_label(found, f"{key} in the .json")
        chosen = key.lower() if key is not None else _CLASS
        if chosen in parts:
            return as_label(_text(_bytes(parts[chosen]), chosen), f".{chosen}")
        if _TEXT in parts and parts[_TEXT] is not example and _JSON not in parts:
            text = _text(_bytes(parts[_TEXT]), _TEXT)
            return text if 0 < len(text) <= _LONGEST_NAME and not LINE_BREAKS.search(text) else None
        return None


def _key(name: str) -> str:
    found = _KEY.fullmatch(name)
    return found[1] if found else name


def _suffix(name: str) -> str:
    found = _KEY.fullmatch(name)
    return found[2].lower() if found else ""


def _bytes(member: _Member) -> bytes:
    if isinstance(member.content, ExampleError):
        raise BadReferenceError(f"the label cannot be read: {member.content}")
    return member.content


def _text(content: bytes, suffix: str) -> str:
    try:
        return content.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise BadReferenceError(f"expected a .{suffix} in UTF-8, found other bytes") from None


def _object(content: bytes) -> Any:
    """The content of a ``.json``."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadReferenceError(f"expected a .json with an object, found {error}") from None


def _value_at(value: Any, key: str, strict: bool = True) -> Any:
    """The value at a dotted path of an object; None where there is none.

    Raises:
      BadReferenceError: the path leads through what is no object, and ``strict``.
    """
    for name in key.split("."):
        if not isinstance(value, dict):
            if not strict:
                return None
            raise BadReferenceError(f"expected an object with {name!r} in the .json, found {type(value).__name__}")
        value = value.get(name)
        if value is None:
            return None
    return value
