"""Checks, on the first few examples of an input, that they are what the model takes."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable

from beam_job.core.errors import DecodeError, ExampleError, InputError
from beam_job.core.options import DEFAULT_MODELS
from beam_job.core.records import ExampleRef, PassedOver
from beam_job.inputs.reading import FirstLook
from beam_job.modalities.base import Modality
from beam_job.modalities.registry import MODALITIES
from beam_job.models.spec import ModelSpec

_READ = 3
_HEAD_BYTES = 256


def check_kind(look: FirstLook, model: ModelSpec) -> None:
    """Checks that an input does not hold examples of another modality than a model takes.

    Args:
      look: The start of the input.
      model: The model.

    Raises:
      InputError: the first examples are all of another modality.
    """
    other = _by_content(look, model.modality) if look.refs else _by_suffix(look.entries)
    if other is not None and other.name != model.modality.name:
        raise InputError(
            f"Expected an input of {model.modality.name} examples, since the model {model.handle} takes "
            f"{model.modality.takes}; found {other.name} examples. Give --model for these, or --modality={other.name} "
            f"without --model for {DEFAULT_MODELS.get(other.name, 'an embedded one')}."
        )


def _by_suffix(entries: Iterable[ExampleRef | PassedOver]) -> type[Modality] | None:
    """What most of the files that were passed over are examples of."""
    kinds = Counter(entry.kind for entry in entries if isinstance(entry, PassedOver))
    most = [kind for kind, _ in kinds.most_common(1)]
    return next((modality for modality in MODALITIES.latest_first() if modality.suffixes.intersection(most)), None)


def _by_content(look: FirstLook, modality: Modality) -> type[Modality] | None:
    """What the first examples are, if the modality can decode none of them.

    Text is not looked for: pages of the web that were saved under the name of a photograph are no reason to stop.
    """
    contents = []
    for content in look.contents(_READ):
        with contextlib.suppress(ExampleError):
            try:
                modality.prepare(content)
            except DecodeError:
                contents.append(content[:_HEAD_BYTES])
            else:
                return None
    others = (other for other in MODALITIES.latest_first() if other.name != modality.name and not other.in_tables)
    return next((other for other in others if contents and all(map(other.recognises, contents))), None)
