"""The set of modalities. Each recognises by its input whether a model takes it; the last entry that does wins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beam_job.runtime.registry import Entry, Registry

if TYPE_CHECKING:
    from beam_job.modalities.base import Modality

MODALITIES: Registry[type[Modality]] = Registry(
    "modality",
    {
        "image": Entry("beam_job.modalities.image.modality:ImageModality"),
        "audio": Entry("beam_job.modalities.audio.modality:AudioModality"),
        "text": Entry("beam_job.modalities.text.modality:TextModality"),
    },
)
