"""SavedModel directories and archives of them, on this machine or on any filesystem that Beam knows."""

from __future__ import annotations

import tarfile
from pathlib import Path

from beam_job.core.errors import ModelError, reason_of
from beam_job.core.options import ModelOptions
from beam_job.models.sources.base import Artefact
from beam_job.models.sources.files import local_directory, local_file
from beam_job.models.sources.other_formats import of_directory
from beam_job.runtime import storage
from beam_job.runtime.cache import cached_directory

_GRAPH_FILES = ("saved_model.pb", "saved_model.pbtxt")
_ARCHIVES = (".tar.gz", ".tgz", ".tar")
# Marks the TF1 Hub format (tensorflow_hub/module_v2.py).
_TF1_MARK = "tfhub_module.pb"
_MAX_UNPACKED_BYTES = 64 << 30


class SavedModelDirectory:
    """``DIR`` or ``gs://bucket/dir``; a remote directory is copied to this machine once per version of its files."""

    @staticmethod
    def matches(handle: str) -> bool:
        path = storage.absolute(handle)
        return not storage.is_local(path) or storage.is_directory(path)

    @staticmethod
    def fetch(options: ModelOptions) -> Artefact:
        handle = options.model
        try:
            version = _serving_version(storage.absolute(handle))
            path = local_directory(storage.join(handle, version) if version else handle)
        except FileNotFoundError:
            raise ModelError(f"There is no SavedModel at {handle}: nothing is there.") from None
        except (OSError, ValueError) as error:
            raise ModelError(f"The model at {handle} cannot be read: {error}") from None
        notes = (f"{version} is the highest version in {handle}",) if version else ()
        digest = storage.directory_digest(str(path))
        return Artefact(saved_model_form(path, handle), str(path), digest, notes=notes)


class SavedModelArchive:
    """``FILE.tar.gz``, ``.tgz`` or ``.tar``, as TF Hub and Kaggle offer them; unpacked once per content."""

    @staticmethod
    def matches(handle: str) -> bool:
        return handle.rstrip("/").lower().endswith(_ARCHIVES)

    @staticmethod
    def fetch(options: ModelOptions) -> Artefact:
        archive, digest = local_file(options.model)
        folder = cached_directory("unpacked", digest[:32], lambda folder: _unpack(archive, options.model, folder))
        path = _model_root(folder, options.model)
        return Artefact(saved_model_form(path, options.model), str(path), storage.directory_digest(str(path)))


def saved_model_form(path: Path, handle: str) -> str:
    """The loader that reads the directory at ``path``.

    Raises:
      ModelError: it holds no SavedModel.
    """
    if not any((path / name).is_file() for name in _GRAPH_FILES):
        found = of_directory(path) or "no such file"
        raise ModelError(f"Expected a SavedModel with a file {_GRAPH_FILES[0]} at {handle}, found {found}.")
    return "tf1_hub" if (path / _TF1_MARK).is_file() else "saved_model"


def _serving_version(root: str) -> str | None:
    """The highest version in a directory of TensorFlow Serving, which has a SavedModel per version; None elsewhere."""
    if any(storage.exists(storage.join(root, name)) for name in _GRAPH_FILES):
        return None
    folders = [folder.rstrip("/").rpartition("/")[2] for folder in storage.list_folders(root) or ()]
    return max((name for name in folders if name.isdecimal()), key=int, default=None)


def _unpack(archive: Path, handle: str, folder: Path) -> None:
    """Unpacks with the ``data`` filter of PEP 706: nothing outside the folder, no links out of it, no devices."""
    try:
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
            if sum(member.size for member in members) > _MAX_UNPACKED_BYTES:
                raise ModelError(f"The archive {handle} would unpack to more than {_MAX_UNPACKED_BYTES >> 30} GiB.")
            tar.extractall(folder, members, filter="data")
    except tarfile.FilterError as error:
        raise ModelError(f"The archive {handle} is not unpacked: {error}.") from None
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise ModelError(f"Expected a complete .tar.gz at {handle}, found: {reason_of(error)}.") from None


def _model_root(folder: Path, handle: str) -> Path:
    """The directory in an unpacked archive that holds the model: its top, or the one place below that does."""
    found = sorted({path.parent for name in _GRAPH_FILES for path in folder.rglob(name)})
    if len(found) != 1:
        raise ModelError(f"Expected one SavedModel in the archive {handle}, found {len(found)}.")
    return found[0]
