"""TF Hub and Kaggle handles: resolved by tensorflow_hub itself, kept in our cache."""

from __future__ import annotations

import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from beam_job.core.errors import ModelError
from beam_job.core.options import ModelOptions
from beam_job.modalities.image.preprocessing import UNIT
from beam_job.models.sources.saved_model import saved_model_form
from beam_job.models.spec import Artefact
from beam_job.runtime import storage
from beam_job.runtime.cache import cached_directory, digest_of
from beam_job.runtime.isolation import run_isolated
from beam_job.runtime.registry import Entry, Registry

# "The inputs are expected to have 3-channel RGB color values in the range [0, 1], following the common image input
# conventions" (TF Hub documentation, Common Signatures for Images).
_CONVENTION = UNIT
_CACHE_VARIABLE = "TFHUB_CACHE_DIR"
_IMPORTS: Registry[object] = Registry(
    "package", {"tensorflow_hub": Entry("tensorflow_hub:resolve", 'pip install "tensorflow-hub" "setuptools<82"')}
)


class HubModel:
    """``https://...``: a handle names one version of a model, so it is fetched once per machine."""

    def fetch(self, options: ModelOptions) -> Artefact:
        handle = options.model

        def make(folder: Path) -> None:
            run_isolated(f"{__name__}:resolve_into", handle=handle, folder=str(folder))

        path = cached_directory("hub", digest_of(handle), make) / "model"
        return Artefact(
            saved_model_form(path, handle), str(path), storage.directory_digest(str(path)), None, _CONVENTION
        )


def resolve_into(handle: str, folder: str) -> None:
    """Fetches a handle and puts the model's directory at ``folder/model``; runs in a process of its own.

    Raises:
      ModelError: it cannot be had.
    """
    target = Path(folder, "model")
    own = Path(folder, "hub")
    os.environ.setdefault(_CACHE_VARIABLE, str(own))
    _IMPORTS.get("tensorflow_hub")
    import tensorflow_hub

    try:
        found = _place(handle) if _uncompressed() else tensorflow_hub.resolve(handle)
        if storage.is_local(found):
            shutil.copytree(found, target)
        else:
            storage.copy_to_local(found, str(target))
    except Exception as error:  # urllib, tarfile, OSError, RuntimeError: hub raises whatever it meets
        raise ModelError(_words(handle, error)) from None
    shutil.rmtree(own, ignore_errors=True)


def _uncompressed() -> bool:
    return os.environ.get("TFHUB_MODEL_LOAD_FORMAT", "").upper() == "UNCOMPRESSED"


def _place(handle: str) -> str:
    """Where the hub keeps a model uncompressed: the body of its answer ``303 See Other``.

    tensorflow_hub would look there with TensorFlow's own client, which knows no other endpoint than Google's.
    """
    url = f"{handle}{'&' if '?' in handle else '?'}tf-hub-format=uncompressed"
    try:
        with urllib.request.urlopen(url) as response:  # noqa: S310 - model_kind lets nothing but http(s) through
            code, place = response.status, ""
    except urllib.error.HTTPError as error:
        if error.code != 303:
            raise
        code, place = error.code, error.read().decode()
    if not place.startswith("gs://"):
        raise ValueError(f"expected a place that begins with gs://, found {place[:80]!r} with status {code}")
    return place


def _words(handle: str, error: Exception) -> str:
    by_hand = (
        "Download the model by hand where there is a network (the TensorFlow 2 SavedModel, a .tar.gz), and give the "
        "file as --model with --input_range=0,1."
    )
    words = " ".join(str(error).split())
    if isinstance(error, urllib.error.HTTPError):
        return f"There is no model at {handle}: the server answers {error.code} {error.reason}. {by_hand}"
    if isinstance(error, (urllib.error.URLError, TimeoutError, ConnectionError)):
        return f"The model at {handle} cannot be reached ({words}). {by_hand}"
    return f"What is at {handle} is no archive of a model ({type(error).__name__}: {words}). {by_hand}"
