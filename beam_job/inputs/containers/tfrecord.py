"""TFRecord files of ``tf.train.Example``, as TensorFlow Datasets, the builders of ImageNet and TFX write them."""

from __future__ import annotations

import dataclasses
import gzip
import io
import itertools
import json
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any, BinaryIO, ClassVar, NamedTuple, cast

from beam_job.core.errors import BadReferenceError, CorruptExampleError, EmptyFileError, ExampleError, InputError
from beam_job.core.records import Content, ErrorRow, ExampleRef, PassedOver, Piece
from beam_job.inputs.base import ExampleFiles
from beam_job.inputs.containers.base import DAMAGED_STREAM, UNREADABLE, ContainerFormat, info_of, lost
from beam_job.inputs.containers.example_proto import Features, parse_example
from beam_job.inputs.labels import as_id, as_label, kept_of, label_name
from beam_job.runtime import storage
from beam_job.runtime.framing import DamagedRecord, salvaged_records
from beam_job.runtime.storage import FileInfo

# What the feature with an example is called, the first one that is there; that of ImageNet's builder before others.
_CONTENT_KEYS = (
    *("image/encoded", "image", "image_raw", "image_bytes", "encoded", "jpg", "jpeg", "png", "webp"),
    *("audio/encoded", "audio", "wav", "flac", "mp3", "bytes", "content"),
)
_TEXT_KEYS = ("text", "sentence", "content")
_LABEL_KEY = "image/class/label"
# What TFDS says beside the files: the type of a feature with labels, and where its names are.
_FEATURES, _CLASS_LABEL, _NAMES = "features.json", "ClassLabel", "{}.labels.txt"
# With the number of the file behind the suffix, as TFDS writes it, or without a suffix, as that of ImageNet.
_NAMED = re.compile(r".*(\.tfrecords?(-[^/]*)?(\.gz)?|-[^/]+-of-\d{5}(\.gz)?)", re.DOTALL)
_GZIP = b"\x1f\x8b"
# So many records are looked at, to see which features there are.
_CHECKED = 8
# A longer file is cut into parts of about so many bytes.
_LONGEST_WHOLE, _PART_BYTES = 2 * storage.STREAMED_BYTES, storage.STREAMED_BYTES


class _Labels(NamedTuple):
    """Where labels are, and what TFDS says of them.

    Attributes:
      key: The feature that holds them, or None as long as none was found.
      names: The names that integers are numbers of, or None.
      are_lists: Whether an example has a list of them.
    """

    key: str | None
    names: Sequence[str] | None
    are_lists: bool

    def found_in(self, features: Features) -> _Labels:
        """The same, with the feature that holds the label of a record if there is one.

        Raises:
          BadReferenceError: the label is in another feature than in the records before.
        """
        found = _label_key(features)
        if self.key is None:
            return self._replace(key=found)
        if self.names is None and found not in (None, self.key) and self.key not in features:
            raise BadReferenceError(f"expected the label in {self.key}, as in the records before, found {found}")
        return self


def _label_key(known: Collection[str]) -> str | None:
    """The feature with the labels, among others: that of ImageNet's builder, or what is usual."""
    return _LABEL_KEY if _LABEL_KEY in known else label_name(known)


class TFRecord(ContainerFormat):
    """Records of TFRecord files, each a ``tf.train.Example``; a file is a piece, or several if it is long.

    The id is the file's name and the number of the record, or its first byte if the file has several pieces, unless
    ``--id_column`` names a feature. Labels are numbers or texts; in a directory of TensorFlow Datasets, numbers are
    those of the names that it has.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".tfrecord", ".tfrecords", ".tfrecord.gz")
    takes: ClassVar[frozenset[str]] = frozenset(
        {"image_column", "text_column", "label_column", "id_column", "keep_columns"}
    )

    @classmethod
    def is_named(cls, path: str) -> bool:
        return bool(_NAMED.fullmatch(path.lower()))

    @classmethod
    def describes(cls, name: str) -> bool:
        return name == _FEATURES or name.endswith(_NAMES.format(""))

    def vocabulary(self, info: FileInfo) -> Sequence[str] | None:
        described = self.description(info)
        return described.names if described else None

    def description(self, info: FileInfo) -> _Labels | None:
        """What TFDS says of the labels beside a file, or None where it says nothing, or nothing that is understood."""
        folder = storage.parent(info.path)
        try:
            content = json.loads(storage.read_bytes(storage.join(folder, _FEATURES)))
            features = content["featuresDict"]["features"]
            inner = {name: feature.get("sequence", {}).get("feature", feature) for name, feature in features.items()}
            keys = [name for name, feature in inner.items() if feature["pythonClassName"].endswith(_CLASS_LABEL)]
            key = self.columns.label_column or _label_key(keys)
            assert key is not None
            text = storage.read_bytes(storage.join(folder, _NAMES.format(key))).decode("utf-8")
            return _Labels(key, text.removesuffix("\n").split("\n"), "sequence" in features[key])
        except FileNotFoundError:
            return None
        except UNREADABLE:
            raise
        except (OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError):
            return None

    def places(self, info: FileInfo) -> Iterator[str]:
        """A long file that is not compressed is cut into parts of equal length; a record is in that of its start."""
        is_cut = info.size > _LONGEST_WHOLE and storage.has_ranges(info)
        if not is_cut or storage.read_range(info.path, 0, len(_GZIP)) == _GZIP:
            yield ""
            return
        count = -(-info.size // _PART_BYTES)
        ends = [info.size * number // count for number in range(count + 1)]
        yield from (f"{first:016d}-{end:016d}" for first, end in itertools.pairwise(ends))

    def check_examples(self, infos: Sequence[FileInfo], files: ExampleFiles) -> None:
        for info in infos:
            with storage.open_stream(info, storage.LOOKED_BYTES) as file:
                good = (record for _, record in salvaged_records(_plain(file)) if isinstance(record, bytes))
                first = list(itertools.islice(good, _CHECKED))
            if not first:
                continue
            try:
                features = {name: values for record in first for name, values in parse_example(record).items()}
            except ValueError:
                raise InputError(f"Expected tf.train.Examples in {info.path!r}, found other records.") from None
            known = ", ".join(features) or "none"
            if self._content_key(features, files) is None:
                option = "text_column" if files.texts else "image_column"
                raise InputError(
                    f"Expected a feature with the examples in {info.path!r}, found {known}; name it with --{option}."
                )
            for name in self.columns.kept:
                if name not in features:
                    raise InputError(
                        f"Expected a feature {name!r}, as --keep_columns says, in {info.path!r}, found {known}."
                    )
            return

    def members(
        self, piece: Piece, files: ExampleFiles, contents: bool = True, request_bytes: int = storage.STREAMED_BYTES
    ) -> Iterator[Content | PassedOver]:
        labels = self.description(info_of(piece)) or _Labels(self.columns.label_column, None, False)
        with _opened(piece, request_bytes) as file:
            records = enumerate(_records(piece, file))
            while True:
                try:
                    number, (place, record) = next(records)
                    number = place if piece.place else number
                except StopIteration:
                    return
                except UNREADABLE:
                    raise
                except DAMAGED_STREAM as error:
                    yield lost(piece, "lost", f"the rest of the file is lost: {error}")
                    return
                if isinstance(record, DamagedRecord):
                    yield lost(piece, f"record {number}", f"a part of the file is lost: {record.problem}")
                else:
                    content, labels = self._content(piece, number, record, files, labels)
                    yield content

    def _content(
        self, piece: Piece, number: int, record: bytes, files: ExampleFiles, labels: _Labels
    ) -> tuple[Content, _Labels]:
        """The example in a record, and where the labels are in the records after it."""
        ref = ExampleRef(f"{piece.name}/{number}", piece.uri, version=piece.version, member=f"tfrecord:{number}")
        try:
            features = parse_example(record)
        except ValueError:
            problem = CorruptExampleError("expected a tf.train.Example, found another record")
            return (ref, ErrorRow.of(ref, problem)), labels
        try:
            if self.columns.id_column is not None:
                ref = dataclasses.replace(ref, id=as_id(_one(features, self.columns.id_column)))
            labels = labels.found_in(features)
            if labels.key is not None:
                values = features.get(labels.key, ())
                several = labels.are_lists or len(values) > 1
                label = as_label(values if several else _one(features, labels.key), labels.key, labels.names)
                ref = dataclasses.replace(ref, label=label)
            if self.columns.kept:
                ref = dataclasses.replace(ref, kept=kept_of(_row(features), self.columns.kept))
            content = self._content_key(features, files)
            value = _one(features, content) if content is not None else None
            if not isinstance(value, bytes):
                raise EmptyFileError(f"expected bytes in {content or 'a feature'}, found {value!r:.100}")
            return (ref, value), labels
        except ExampleError as error:
            return (ref, ErrorRow.of(ref, error)), labels

    def _content_key(self, features: Features, files: ExampleFiles) -> str | None:
        """The feature with the example, or None where none can be meant."""
        named = self.columns.text_column if files.texts else self.columns.image_column
        if named is not None:
            return named if named in features else None
        usual = _TEXT_KEYS if files.texts else _CONTENT_KEYS
        return next((name for name in usual if name in features), None)


def _opened(piece: Piece, request_bytes: int) -> BinaryIO:
    """The file of a piece, at its start or that of its part."""
    if not piece.place:
        return storage.open_stream(info_of(piece), request_bytes)
    first, end = _part(piece)
    file = storage.open_random(info_of(piece), [(first, end - first)], request_bytes)
    file.seek(first)
    return file


def _records(piece: Piece, file: BinaryIO) -> Iterator[tuple[int, bytes | DamagedRecord]]:
    return salvaged_records(file, _part(piece)) if piece.place else salvaged_records(_plain(file))


def _part(piece: Piece) -> tuple[int, int]:
    first, end = map(int, piece.place.split("-"))
    return first, end


def _plain(file: BinaryIO) -> BinaryIO:
    """The records of a file, which may be compressed by gzip."""
    compressed = isinstance(file, io.BufferedReader) and file.peek(len(_GZIP)).startswith(_GZIP)
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if compressed else file


def _row(features: Features) -> dict[str, Any]:
    """Feature to its value, or to its values where they are several."""
    return {name: values[0] if len(values) == 1 else (list(values) or None) for name, values in features.items()}


def _one(features: Features, name: str) -> Any:
    """The only value of a feature, or None where it has none.

    Raises:
      BadReferenceError: it has several.
    """
    values = features.get(name, ())
    if len(values) > 1:
        raise BadReferenceError(f"expected one value of {name}, found {len(values)}; lists are not read")
    return values[0] if values else None
