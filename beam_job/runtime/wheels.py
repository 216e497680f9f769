"""Files inside an installed package, found without importing it."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def package_directory(package: str) -> Path | None:
    """The directory of an installed top-level package, or None when it is not installed."""
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else None
