"""Open sets by name: a member is imported when it is needed, and a missing package is named with how to install it."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from beam_job.core.errors import UsageError
from beam_job.core.suggestions import did_you_mean

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """Where a member is defined.

    Attributes:
      path: ``package.module:Name``.
      requires: The package that the member needs and that may be missing; empty without one.
      install: The command that installs that package.
    """

    path: str
    requires: str = ""
    install: str = ""


class Registry(Generic[T]):
    """An open set of members of one kind; ``kind`` names a member in messages. Iterates over the members' names."""

    def __init__(self, kind: str, entries: Mapping[str, Entry]) -> None:
        self._kind = kind
        self.entries = dict(entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def is_installed(self, name: str) -> bool:
        """Whether the package that a member needs is installed."""
        required = self.entries[name].requires
        return not required or importlib.util.find_spec(required) is not None

    def get(self, name: str) -> T:
        """The member called ``name``.

        Raises:
          UsageError: there is none, or a package that it needs is not installed.
        """
        entry = self.entries.get(name)
        if entry is None:
            known = ", ".join(self.entries)
            raise UsageError(
                f"Expected one of {known} as {self._kind}, found {name!r}{did_you_mean(name, self.entries)}"
            )
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

    def latest_first(self) -> Iterator[T]:
        """Every member, the one that was added last first, so that an addition takes precedence."""
        return (self.get(name) for name in reversed(self.entries))
