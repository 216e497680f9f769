"""TF Hub and Kaggle handles: resolved by tensorflow_hub, kept in our cache."""

from __future__ import annotations

import os
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from beam_job.core.errors import ModelError
from beam_job.core.options import ModelOptions
from beam_job.modalities.image.preprocessing import UNIT
from beam_job.models.sources.base import Artefact
from beam_job.models.sources.saved_model import saved_model_form
from beam_job.runtime import storage
from beam_job.runtime.cache import cache_key, cached_directory
from beam_job.runtime.isolation import run_isolated
from beam_job.runtime.registry import Entry, Registry

# "The inputs are expected to have 3-channel RGB color values in the range [0, 1], following the common image input
# conventions" (TF Hub documentation, Common Signatures for Images).
_CONVENTION = UNIT
# Samples per second that models of sounds take, as their pages document it, by a part of the handle.
_RATES = {
    "google/yamnet/": 16_000,
    "google/vggish/": 16_000,
    "google/spice/": 16_000,
    "google/nonsemantic-speech-benchmark/": 16_000,
    "vasudevgupta7/wav2vec2": 16_000,
    "google/bird-vocalization-classifier/": 32_000,
    "google/humpback_whale/": 10_000,
}
_URL = re.compile(r"https?://")
_SEE_OTHER = 303
_CACHE_VARIABLE = "TFHUB_CACHE_DIR"
_IMPORTS: Registry[object] = Registry(
    "package",
    {
        "tensorflow_hub": Entry(
            "tensorflow_hub:resolve", "tensorflow_hub", 'pip install "tensorflow-hub" "setuptools<82"'
        )
    },
)


class HubModel:
    """``https://...``: a handle names one version of a model, so it is fetched once per machine."""

    @staticmethod
    def matches(handle: str) -> bool:
        return bool(_URL.match(handle))

    @staticmethod
    def fetch(options: ModelOptions) -> Artefact:
        handle = options.model

        def make(folder: Path) -> None:
            run_isolated(f"{__name__}:resolve_into", handle=handle, folder=str(folder))

        path = cached_directory("hub", cache_key(handle), make) / "model"
        rate = next((rate for name, rate in _RATES.items() if name in handle), None)
        form, digest = saved_model_form(path, handle), storage.directory_digest(str(path))
        return Artefact(form, str(path), digest, convention=_CONVENTION, rate=rate)


def resolve_into(handle: str, folder: str) -> None:
    """Fetches a handle and puts the model's directory at ``folder/model``; runs in a separate process.

    Raises:
      ModelError: it cannot be fetched.
    """
    target = Path(folder, "model")
    own = Path(folder, "hub")
    os.environ.setdefault(_CACHE_VARIABLE, str(own))
    _IMPORTS.get("tensorflow_hub")
    import tensorflow_hub

    try:
        found = _location(handle) if _uncompressed() else tensorflow_hub.resolve(handle)
        if storage.is_local(found):
            shutil.copytree(found, target)
        else:
            storage.copy_to_local(found, str(target))
    except Exception as error:  # hub passes on what urllib, tarfile and the operating system raise
        raise ModelError(_message(handle, error)) from None
    shutil.rmtree(own, ignore_errors=True)


def _uncompressed() -> bool:
    return os.environ.get("TFHUB_MODEL_LOAD_FORMAT", "").upper() == "UNCOMPRESSED"


def _location(handle: str) -> str:
    """Where the hub keeps a model uncompressed: the body of its response ``303 See Other``.

    tensorflow_hub would read it with TensorFlow's own client, which knows no endpoint but Google's.
    """
    url = f"{handle}{'&' if '?' in handle else '?'}tf-hub-format=uncompressed"
    try:
        with urllib.request.urlopen(url) as response:  # noqa: S310 - matches() accepts http(s) only
            status, location = response.status, ""
    except urllib.error.HTTPError as error:
        if error.code != _SEE_OTHER:
            raise
        status, location = error.code, error.read().decode()
    if not location.startswith("gs://"):
        raise ValueError(f"expected a location that starts with gs://, found {location[:80]!r} with status {status}")
    return location


def _message(handle: str, error: Exception) -> str:
    by_hand = (
        "Download the model by hand on a machine with network access (the TensorFlow 2 SavedModel, a .tar.gz), and "
        "give the file as --model with --input_range=0,1."
    )
    words = " ".join(str(error).split())
    if isinstance(error, urllib.error.HTTPError):
        return f"There is no model at {handle}: the server answered {error.code} {error.reason}. {by_hand}"
    if isinstance(error, (urllib.error.URLError, TimeoutError, ConnectionError)):
        return f"The model at {handle} cannot be reached ({words}). {by_hand}"
    return f"What is at {handle} is not an archive of a model ({type(error).__name__}: {words}). {by_hand}"
