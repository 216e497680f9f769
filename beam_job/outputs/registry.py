"""The set of shard formats. The first one is the default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beam_job.runtime.registry import Entry, Registry

if TYPE_CHECKING:
    from beam_job.outputs.base import ShardFormat

SHARD_FORMATS: Registry[type[ShardFormat]] = Registry(
    "shard format", {"tfrecord": Entry("beam_job.outputs.tfrecord.format:TFRecord")}
)
