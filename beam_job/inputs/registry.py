"""The set of inputs. Each recognises what it can list by its path; the last entry that does wins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beam_job.runtime.registry import Entry, Registry

if TYPE_CHECKING:
    from beam_job.inputs.base import Source

INPUTS: Registry[type[Source]] = Registry(
    "kind of input",
    {
        "glob": Entry("beam_job.inputs.globs:Glob"),
        "class_folders": Entry("beam_job.inputs.class_folders:ClassFolders"),
        "containers": Entry("beam_job.inputs.containers.source:Containers"),
        "metadata_folder": Entry("beam_job.inputs.metadata_folders:MetadataFolder"),
        "manifest": Entry("beam_job.inputs.manifests:Manifest"),
        "lines": Entry("beam_job.inputs.lines:TextLines"),
    },
)
