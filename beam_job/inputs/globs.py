"""A glob: every file that matches, whatever its suffix, without labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from beam_job.core.records import ImageRef
from beam_job.inputs.base import GLOB_CHARACTERS, readable_id
from beam_job.runtime import storage


@dataclasses.dataclass(frozen=True)
class Glob:
    """The files that ``pattern`` matches; ids are relative to the last directory before the first wildcard."""

    pattern: str
    ids_unique = True

    def check(self) -> None:
        """What matches is listed in the workers."""

    def units(self) -> Iterator[str]:
        yield self.pattern

    def refs(self, unit: str) -> Iterator[ImageRef]:
        root = storage.parent(GLOB_CHARACTERS.split(unit, maxsplit=1)[0])
        for info in storage.match(unit):
            yield ImageRef(readable_id(storage.relative(info.path, root)), info.path, version=info.version)
