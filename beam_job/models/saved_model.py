"""A SavedModel directory, on this machine or on any filesystem that Beam knows."""

from __future__ import annotations

import hashlib
from pathlib import Path

from beam_job import storage
from beam_job.cache import cached_directory
from beam_job.errors import ModelError
from beam_job.models.base import LocalModel
from beam_job.models.efficientnet_lite import VARIANTS
from beam_job.options import nearest


class SavedModel:
    """``DIR`` or ``gs://bucket/dir``; a remote directory is copied to this machine once per version of its files."""

    def fetch(self, handle: str) -> LocalModel:
        try:
            path = Path(storage.absolute(handle)) if storage.is_local(handle) else _copy(handle)
        except FileNotFoundError:
            raise ModelError(f"There is no SavedModel at {handle}: nothing is there.") from None
        except OSError as error:
            raise ModelError(f"The model at {handle} cannot be read: {error}") from None
        if not path.exists():
            raise ModelError(
                f"Expected --model to be {', '.join(VARIANTS)}, a SavedModel directory or a TF Hub handle, found "
                f"{handle!r}{nearest(handle, dict(VARIANTS))}"
            )
        if not (path / "saved_model.pb").is_file():
            raise ModelError(f"Expected a SavedModel with a file saved_model.pb at {handle}, found none.")
        return LocalModel(path, storage.directory_digest(str(path)))


def _copy(handle: str) -> Path:
    root = storage.absolute(handle)
    versions = sorted(f"{info.path}\0{info.version}" for info in storage.list_files(root))
    key = hashlib.sha256("\n".join([root, *versions]).encode()).hexdigest()[:32]
    return cached_directory("copied", key, lambda folder: storage.copy_to_local(root, str(folder)))
