"""Selects the model source that fetches a handle."""

from __future__ import annotations

import dataclasses

from beam_job.core.errors import ModelError
from beam_job.core.fingerprints import digest_of
from beam_job.core.options import ModelOptions
from beam_job.core.suggestions import did_you_mean
from beam_job.models.registry import MODEL_SOURCES
from beam_job.models.sources.base import Artefact
from beam_job.models.sources.builtin import EMBEDDED

# Options to the forms of model that they go with, and what these are called.
_GOES_WITH = {
    "weights": (("keras_application",), "--model=keras:NAME"),
    "signature": (("saved_model", "tf1_hub"), "a SavedModel"),
    "tags": (("saved_model",), "a SavedModel"),
    "trust_model_code": (("keras_file",), "a .keras or .h5 file"),
}


def fetch_model(options: ModelOptions) -> Artefact:
    """The model's artefact on this machine, with that of its preprocessor.

    Raises:
      ModelError: it cannot be fetched.
    """
    artefact = _fetched(options)
    if options.text_preprocessor is None:
        return artefact
    preprocessor = _fetched(ModelOptions(model=options.text_preprocessor))
    return dataclasses.replace(
        artefact,
        digest=digest_of([preprocessor.digest, artefact.digest]),
        notes=(*preprocessor.notes, *artefact.notes),
        preprocessor=preprocessor,
    )


def _fetched(options: ModelOptions) -> Artefact:
    handle = options.model
    source = next((source for source in MODEL_SOURCES.latest_first() if source.matches(handle)), None)
    if source is None:
        raise ModelError(
            f"Expected --model to be {', '.join(EMBEDDED)}, a SavedModel, a .keras or .h5 file, keras:NAME or a TF Hub "
            f"handle, found {handle!r}{did_you_mean(handle, EMBEDDED)}"
        )
    artefact = source.fetch(options)
    for name, (forms, kind) in _GOES_WITH.items():
        if getattr(options, name) and artefact.form not in forms:
            raise ModelError(f"--{name} goes with {kind}, found --model={handle}.")
    return artefact
