"""Open sets by name: a member is imported when it is asked for, and a missing package is named with its remedy."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from beam_job.core.errors import UsageError
from beam_job.core.options import nearest

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """Where a member lives.

    Attributes:
      path: ``package.module:Name``.
      install: What to install when the import fails for want of a package.
    """

    path: str
    install: str = ""


class Registry(Generic[T]):
    """A set of members of one kind; ``kind`` is the word for a member in messages."""

    def __init__(self, kind: str, entries: Mapping[str, Entry]) -> None:
        self._kind = kind
        self._entries = dict(entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def add(self, name: str, entry: Entry) -> None:
        """Makes a member known, or puts another in its place."""
        self._entries[name] = entry

    def get(self, name: str) -> T:
        """The member called ``name``.

        Raises:
          UsageError: there is none, or a package that it needs is not installed.
        """
        entry = self._entries.get(name)
        if entry is None:
            known = ", ".join(self._entries)
            raise UsageError(f"Expected a {self._kind} of {known}, found {name!r}{nearest(name, self._entries)}")
        module, _, attribute = entry.path.partition(":")
        try:
            member: T = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if not entry.install:
                raise
            raise UsageError(
                f"The {self._kind} {name!r} needs the package {error.name!r}; install it with: {entry.install}"
            ) from None
        return member
