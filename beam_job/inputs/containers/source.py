"""Containers as an input: where the files are, what their names tell, and the pieces of all of them."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, NamedTuple

from beam_job.core.errors import InputError
from beam_job.core.records import Content, PassedOver, Piece
from beam_job.core.sharding import SPLIT_NAMES
from beam_job.inputs.base import PLAIN_COLUMNS, Columns, Container, ExampleFiles, kind_of, readable_id
from beam_job.inputs.containers.base import ContainerFormat, info_of
from beam_job.inputs.containers.registry import CONTAINER_FORMATS
from beam_job.inputs.globs import is_glob
from beam_job.runtime import storage
from beam_job.runtime.storage import FileInfo
from beam_job.runtime.threadmap import map_in_order

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
# Folders that may hold containers: those of splits, and what Hugging Face calls the folder of its files.
_PASSED_THROUGH = SPLIT_NAMES | {"data", "default"}
_MOST_FILES = 1_000_000
# So many files of a store are asked for one by one, and at once.
_ASKED_ONE_BY_ONE = 8
# Files of a directory that tell whether it holds containers.
_LOOKED_AT = 1000
# What stands beside containers: what describes them, in tables and texts.
_SUFFIXES_BESIDE = frozenset(("", ".json", ".jsonl", ".csv", ".tsv", ".md", ".yaml", ".yml", ".idx", ".index", ".lock"))
_TEXTS_BESIDE = re.compile("label|class|readme|licen[cs]e")
_WORDS = re.compile(r"[^A-Za-z]+")


class _File(NamedTuple):
    """A container, and its name relative to the input's root."""

    name: str
    info: FileInfo


@dataclasses.dataclass(frozen=True)
class Containers(Container):
    """Files of one container format: a file, those that a pattern with wildcards or braces names, or a directory.

    In a directory, the files may be in folders that are called as splits. If the name of each file tells a split, an
    example without another one is in it.
    """

    path: str
    columns: Columns = PLAIN_COLUMNS
    has_columns: ClassVar[bool] = True

    @classmethod
    def matches(cls, path: str) -> bool:
        return _format_at(path) is not None

    @functools.cached_property
    def kind(self) -> str:
        """The format, by its name in the registry."""
        found = _format_at(self.path)
        if found is None:
            raise InputError(f"There are no containers any more at {self.path!r}.")
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Without the list of files, which may be long: a worker is given its pieces."""
        return {name: value for name, value in self.__dict__.items() if name != "_files"}

    def check(self) -> list[str]:
        if not _is_directory(self.path):
            return []
        read = {info.path for _, info in self._files}
        others = Counter(
            kind_of(info.path).kind
            for info in _in_directory(self.path)
            if info.path not in read
            and not _is_hidden(info)
            and not self._format.describes(posixpath.basename(info.path))
        )
        if not others:
            return []
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(others.items()))
        return [f"files beside the {self.kind} files are not read: {kinds}"]

    @property
    def takes(self) -> frozenset[str]:
        return self._format.takes

    def reading(self) -> dict[str, Any]:
        return self._format.reading()

    def description(self, piece: Piece) -> Any:
        return self._format.description(info_of(piece))

    def vocabulary(self) -> Sequence[str] | None:
        return self._format.vocabulary(self._files[0].info)

    def check_examples(self, files: ExampleFiles) -> None:
        self._format.check_examples([info for _, info in self._files], files)

    def pieces(self) -> list[Piece]:
        splits = splits_of([name for name, _ in self._files])
        return [
            Piece(self.kind, info.path, readable_id(name), info.version, info.size, place, splits.get(name))
            for name, info in self._files
            for place in self._format.places(info)
        ]

    def members(
        self, piece: Piece, files: ExampleFiles, contents: bool = True, request_bytes: int = storage.STREAMED_BYTES
    ) -> Iterator[Content | PassedOver]:
        return self._format.members(piece, files, contents, request_bytes)

    @property
    def _format(self) -> ContainerFormat:
        return CONTAINER_FORMATS.get(self.kind)(self.columns)

    @functools.cached_property
    def _files(self) -> list[_File]:
        """The containers, sorted by name; listed once.

        Raises:
          InputError: a file that the path names does not exist, or a pattern matches none.
        """
        path = self.path
        found: dict[str, FileInfo] = {}
        if _is_directory(path):
            root = path
            found = {info.path: info for info in _in_directory(path) if _is_container(info, self._format)}
        else:
            root = storage.fixed_parent(path.partition("{")[0] + "*")
            expanded = expand_braces(path) if is_pattern(path) else [path]
            infos = itertools.chain.from_iterable(storage.match(pattern) for pattern in expanded if is_glob(pattern))
            found = {info.path: info for info in (*infos, *_named([name for name in expanded if not is_glob(name)]))}
        if not found:
            raise InputError(f"Expected files {' or '.join(self._format.suffixes)} at {path!r}, found none.")
        return sorted(
            _File(storage.relative(storage.without_query(place), root), info) for place, info in found.items()
        )


def _format_at(path: str) -> str | None:
    """The format of the containers at a path, if there are some: it names them, or is a directory of them."""
    formats = {name: CONTAINER_FORMATS.get(name) for name in CONTAINER_FORMATS}
    if not _is_directory(path):
        named = storage.without_query(path)
        return next((name for name, found in formats.items() if found.is_named(named)), None)
    infos = [info for info in itertools.islice(_in_directory(path), _LOOKED_AT) if not _is_hidden(info)]
    if not all(_is_beside(info) or any(_is_container(info, found) for found in formats.values()) for info in infos):
        return None  # loose files, with an archive among them
    return next((name for name, found in formats.items() if any(_is_container(info, found) for info in infos)), None)


def _is_directory(path: str) -> bool:
    return not is_pattern(path) and storage.is_directory(path)


def is_pattern(path: str) -> bool:
    """Whether a path stands for several: it has wildcards or braces."""
    return is_glob(path) or (bool(_BRACES.search(path)) and not (storage.is_local(path) and storage.exists(path)))


def expand_braces(pattern: str) -> list[str]:
    """The paths that a pattern with ranges and alternatives in braces stands for, as in a shell.

    >>> expand_braces("a-{08..10}.tar"), expand_braces("{a,b}{0..1}")
    (['a-08.tar', 'a-09.tar', 'a-10.tar'], ['a0', 'a1', 'b0', 'b1'])

    Raises:
      InputError: they are too many.
    """
    parts = _BRACES.split(pattern)  # text, content of braces, text, ...
    choices = [[part] if number % 2 == 0 else _alternatives(part) for number, part in enumerate(parts)]
    count = 1
    for choice in choices:
        count *= len(choice)
        if count > _MOST_FILES:
            raise InputError(f"Expected at most {_MOST_FILES:,} files, found more in the pattern {pattern!r}.")
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def _alternatives(content: str) -> Sequence[str]:
    numbers = _RANGE.fullmatch(content)
    if not numbers:
        return content.split(",") if "," in content else ["{" + content + "}"]
    first, last = numbers.groups()
    step = 1 if int(first) <= int(last) else -1
    if abs(int(last) - int(first)) >= _MOST_FILES:
        raise InputError(f"Expected at most {_MOST_FILES:,} files, found the range {content!r}.")
    width = max(len(first), len(last)) if first.startswith("0") or last.startswith("0") else 0
    return [f"{number:0{width}d}" for number in range(int(first), int(last) + step, step)]


def _in_directory(root: str) -> Iterator[FileInfo]:
    """The files directly in a directory, or in its folders where all of these are called as splits are."""
    folders = storage.list_folders(root) or []
    if any(name.lower() not in _PASSED_THROUGH for name in folders if not name.startswith(".")):
        return
    for place in (root, *(storage.join(root, name) for name in folders)):
        yield from storage.list_files(place, recursive=False)


def _is_container(info: FileInfo, container_format: ContainerFormat | type[ContainerFormat]) -> bool:
    return container_format.is_named(info.path) and not _is_hidden(info)


def _is_hidden(info: FileInfo) -> bool:
    return posixpath.basename(info.path).startswith(".")


def _is_beside(info: FileInfo) -> bool:
    """Whether a file is of those that stand beside containers, rather than an example."""
    stem, suffix = posixpath.splitext(posixpath.basename(info.path).lower())
    return suffix in _SUFFIXES_BESIDE or (suffix == ".txt" and bool(_TEXTS_BESIDE.search(stem)))


def _named(paths: Sequence[str]) -> Iterator[FileInfo]:
    """The files at some paths; where they are many in a store that lists its files, by listing their folders.

    Raises:
      InputError: there is no file at one.
    """
    listed: dict[str, FileInfo] = {}
    if len(paths) > _ASKED_ONE_BY_ONE and not storage.is_local(paths[0]) and not storage.is_web(paths[0]):
        for folder in sorted(set(map(storage.parent, paths))):
            listed.update((info.path, info) for info in storage.list_files(folder, recursive=False))

    def info_of(path: str) -> FileInfo:
        try:
            return listed[path] if listed else storage.info_of(path)
        except (FileNotFoundError, KeyError):
            raise InputError(f"There is no file at {path!r}.") from None

    with ThreadPoolExecutor(_ASKED_ONE_BY_ONE, "beam-job-list") as pool:
        yield from map_in_order(info_of, paths, pool, _ASKED_ONE_BY_ONE)


def splits_of(names: Sequence[str]) -> dict[str, str]:
    """Name of each container to the split that it tells, if all of them tell one; otherwise nothing.

    A name tells a split by a word in it, such as ``train-00000.tar``, ``imagenet-val-07.tar`` or ``test/0.tar``.

    >>> splits_of(["train-0.tar", "val-0.tar"]), splits_of(["train-0.tar", "more.tar"])
    ({'train-0.tar': 'train', 'val-0.tar': 'val'}, {})
    """
    found: dict[str, str] = {}
    for name in names:
        words = [word for word in _WORDS.split(name.lower()) if word in SPLIT_NAMES]
        if len(set(words)) != 1:
            return {}
        found[name] = words[0]
    return found
