"""Keras models in files: ``.keras`` and ``.h5``."""

from __future__ import annotations

from beam_job.core.options import ModelOptions
from beam_job.models.sources.base import Artefact
from beam_job.models.sources.files import local_file

_SUFFIXES = (".keras", ".h5", ".hdf5")


class KerasFile:
    """``FILE.keras`` or ``FILE.h5``, on any filesystem."""

    @staticmethod
    def matches(handle: str) -> bool:
        return handle.rstrip("/").lower().endswith(_SUFFIXES)

    @staticmethod
    def fetch(options: ModelOptions) -> Artefact:
        path, digest = local_file(options.model)
        return Artefact("keras_file", str(path), digest)
