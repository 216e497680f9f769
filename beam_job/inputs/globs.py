"""A glob: every file that matches, whatever its suffix, without labels."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterator
from typing import ClassVar

from beam_job.core.records import ExampleRef
from beam_job.inputs.base import Source, readable_id
from beam_job.runtime import storage

_WILDCARDS = re.compile(r"[*?\[]")


@dataclasses.dataclass(frozen=True)
class Glob(Source):
    """The files that ``pattern`` matches; ids are relative to the last directory before the first wildcard."""

    pattern: str
    ids_unique: ClassVar[bool] = True

    @classmethod
    def matches(cls, path: str) -> bool:
        return is_glob(path) or storage.exists(path)

    def units(self) -> Iterator[str]:
        yield self.pattern

    def refs(self, unit: str, suffixes: Collection[str]) -> Iterator[ExampleRef]:
        root = storage.parent(_WILDCARDS.split(unit, maxsplit=1)[0])
        for info in storage.match(unit):
            yield ExampleRef(readable_id(storage.relative(info.path, root)), info.path, version=info.version)


def is_glob(path: str) -> bool:
    """Whether a path has wildcards; the name of a local directory may contain such characters, that of a bucket not."""
    return bool(_WILDCARDS.search(path)) and not (storage.is_local(path) and storage.is_directory(path))
