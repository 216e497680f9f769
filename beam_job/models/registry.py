"""The sets of model sources and of model loaders.

A source recognises its handles; the last entry that does fetches the model. A loader reads one form of model on disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beam_job.runtime.registry import Entry, Registry

if TYPE_CHECKING:
    from beam_job.models.loaders.base import Loader
    from beam_job.models.sources.base import ModelSource

MODEL_SOURCES: Registry[ModelSource] = Registry(
    "model source",
    {
        "other_format": Entry("beam_job.models.sources.other_formats:OtherFormat"),
        "saved_model": Entry("beam_job.models.sources.saved_model:SavedModelDirectory"),
        "keras_file": Entry("beam_job.models.sources.keras_file:KerasFile"),
        "archive": Entry("beam_job.models.sources.saved_model:SavedModelArchive"),
        "keras_application": Entry("beam_job.models.sources.keras_applications:KerasApplication"),
        "hub": Entry("beam_job.models.sources.hub:HubModel"),
        "builtin": Entry("beam_job.models.sources.builtin:BuiltinModel"),
    },
)
LOADERS: Registry[Loader] = Registry(
    "form of model",
    {
        "saved_model": Entry("beam_job.models.loaders.saved_model:load_saved_model"),
        "tf1_hub": Entry("beam_job.models.loaders.tf1_hub:load_tf1_module"),
        "keras_file": Entry("beam_job.models.loaders.keras:load_keras_file"),
        "keras_application": Entry("beam_job.models.loaders.keras:load_application"),
    },
)
