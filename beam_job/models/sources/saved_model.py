"""SavedModel directories and archives of them, on this machine or on any filesystem that Beam knows."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

from beam_job.core.errors import ModelError
from beam_job.core.options import ModelOptions, nearest
from beam_job.models.efficientnet_lite import VARIANTS
from beam_job.models.loaders.base import first_line
from beam_job.models.spec import Artefact
from beam_job.runtime import storage
from beam_job.runtime.cache import cached_directory, digest_of

_GRAPH_FILES = ("saved_model.pb", "saved_model.pbtxt")
# What marks the TF1 Hub format (tensorflow_hub/module_v2.py).
_TF1_MARK = "tfhub_module.pb"
_MOST_BYTES = 64 << 30


class SavedModelDirectory:
    """``DIR`` or ``gs://bucket/dir``; a remote directory is copied to this machine once per version of its files."""

    def fetch(self, options: ModelOptions) -> Artefact:
        handle = options.model
        try:
            path = Path(storage.absolute(handle)) if storage.is_local(handle) else _copy_directory(handle)
        except FileNotFoundError:
            raise ModelError(f"There is no SavedModel at {handle}: nothing is there.") from None
        except (OSError, ValueError) as error:
            raise ModelError(f"The model at {handle} cannot be read: {error}") from None
        if not path.exists():
            raise ModelError(
                f"Expected --model to be {', '.join(VARIANTS)}, a SavedModel, a .keras or .h5 file, keras:NAME or a TF "
                f"Hub handle, found {handle!r}{nearest(handle, dict(VARIANTS))}"
            )
        return Artefact(saved_model_form(path, handle), str(path), storage.directory_digest(str(path)))


class SavedModelArchive:
    """``FILE.tar.gz``, ``.tgz`` or ``.tar``, as TF Hub and Kaggle give them; unpacked once per content."""

    def fetch(self, options: ModelOptions) -> Artefact:
        archive, digest = local_file(options.model)
        folder = cached_directory("unpacked", digest[:32], lambda folder: _unpack(archive, options.model, folder))
        path = _model_root(folder, options.model)
        return Artefact(saved_model_form(path, options.model), str(path), storage.directory_digest(str(path)))


def saved_model_form(path: Path, handle: str) -> str:
    """Which loader reads the directory at ``path``.

    Raises:
      ModelError: there is no SavedModel in it.
    """
    if not any((path / name).is_file() for name in _GRAPH_FILES):
        raise ModelError(f"Expected a SavedModel with a file {_GRAPH_FILES[0]} at {handle}, found none.")
    return "tf1_hub" if (path / _TF1_MARK).is_file() else "saved_model"


def local_file(handle: str) -> tuple[Path, str]:
    """A file from any filesystem on this machine, and its SHA-256 in hexadecimal.

    Raises:
      ModelError: there is none, or it cannot be read.
    """
    path = storage.absolute(handle)
    try:
        if not storage.is_local(path):
            path = str(_copy_file(path))
        with open(path, "rb") as file:
            return Path(path), hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise ModelError(f"There is no file at {handle}.") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"The file {handle} cannot be read: {error}") from None


def _copy_directory(handle: str) -> Path:
    root = storage.absolute(handle)
    versions = sorted(f"{info.path}\0{info.version}" for info in storage.list_files(root))
    return cached_directory(
        "copied", digest_of([root, *versions]), lambda folder: storage.copy_to_local(root, str(folder))
    )


def _copy_file(path: str) -> Path:
    info = next(storage.match(path), None)
    if info is None:
        raise FileNotFoundError(path)
    name = path.rpartition("/")[2]

    def make(folder: Path) -> None:
        (folder / name).write_bytes(storage.read_bytes(path))

    return cached_directory("copied", digest_of([path, info.version]), make) / name


def _unpack(archive: Path, handle: str, folder: Path) -> None:
    """Unpacks with the ``data`` filter of PEP 706: nothing outside the folder, no links out of it, no devices."""
    try:
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
            if sum(member.size for member in members) > _MOST_BYTES:
                raise ModelError(f"The archive {handle} would unpack to more than {_MOST_BYTES >> 30} GiB.")
            tar.extractall(folder, members, filter="data")
    except tarfile.FilterError as error:
        raise ModelError(f"The archive {handle} is not unpacked: {error}.") from None
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise ModelError(f"Expected a whole .tar.gz at {handle}, found: {first_line(error)}.") from None


def _model_root(folder: Path, handle: str) -> Path:
    """The directory in an unpacked archive that holds the model: its top, or the one place below that does."""
    found = sorted({path.parent for name in _GRAPH_FILES for path in folder.rglob(name)})
    if len(found) != 1:
        raise ModelError(f"Expected one SavedModel in the archive {handle}, found {len(found)}.")
    return found[0]
