"""The set of container formats. A directory that holds several is of the first one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beam_job.runtime.registry import Entry, Registry

if TYPE_CHECKING:
    from beam_job.inputs.containers.base import ContainerFormat

CONTAINER_FORMATS: Registry[type[ContainerFormat]] = Registry(
    "container format",
    {
        "tar": Entry("beam_job.inputs.containers.tar:Tar"),
        "zip": Entry("beam_job.inputs.containers.zip:Zip"),
        "tfrecord": Entry("beam_job.inputs.containers.tfrecord:TFRecord"),
        "parquet": Entry("beam_job.inputs.containers.parquet:Parquet"),
    },
)
