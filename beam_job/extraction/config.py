"""What every worker of a run needs to know."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Sequence
from typing import Any

from beam_job.core.fingerprints import digest_of, example_fingerprint
from beam_job.core.labels import LabelKind
from beam_job.core.options import ExtractOptions
from beam_job.core.records import ExampleRef
from beam_job.engines.base import EngineChoice
from beam_job.inputs.reading import is_allowed
from beam_job.models.spec import ModelSpec
from beam_job.outputs.base import RecordSchema
from beam_job.outputs.selection import chosen_formats
from beam_job.runtime import storage
from beam_job.runtime.cores import available_cores


@dataclasses.dataclass(frozen=True)
class ExtractionConfig:
    """What every worker needs to know; the same for all shards of a run.

    Attributes:
      model: Which model, with the modality that it takes.
      engine: Which engine runs it, at which precision.
      output: The dataset's directory; empty when none is written.
      formats: The names of the shard formats.
      label_kind: What the labels are.
      kept: The names of the columns that are carried to the output.
      allowed_roots: Directories that files must be in; any directory when there are none.
      resume: Whether to keep what an earlier run at the output has done.
      retry_errors: Whether examples that failed in an earlier run are tried again.
      worker_threads: Threads that decode and run the model, if given; see ``threads``.
      processes: Worker processes that share the cores of a machine.
      read_threads: Concurrent reads.
      launched: When the run was launched, in microseconds since 1970; tells its receipts from those of earlier runs.
    """

    model: ModelSpec
    engine: EngineChoice
    output: str
    formats: tuple[str, ...]
    label_kind: LabelKind
    kept: tuple[str, ...]
    allowed_roots: tuple[str, ...]
    resume: bool
    retry_errors: bool
    worker_threads: int | None
    processes: int
    read_threads: int
    launched: int

    @property
    def batch_size(self) -> int:
        """Examples per call of the model."""
        return self.engine.batch_size

    @property
    def threads(self) -> int:
        """Threads that decode and run the model in this process: its share of the cores, unless given."""
        return self.worker_threads or max(1, available_cores() // self.processes)

    def identity(self) -> dict[str, Any]:
        """What decides the features, beside the examples themselves."""
        return {
            "model": self.model.identity(),
            "preprocessing": self.model.modality.preprocessing(),
            "decode": self.model.modality.decode_policy(),
            "engine": self.engine.identity(),
            "batch_size": self.batch_size,
        }

    @functools.cached_property
    def identity_digest(self) -> str:
        """SHA-256 of the identity, in hexadecimal."""
        return digest_of(self.identity())

    def schema(self, labels: Sequence[str] = ()) -> RecordSchema:
        """What all records have in common, with this label vocabulary."""
        return RecordSchema(self.model.outputs, labels, self.label_kind, self.kept)

    def allows(self, ref: ExampleRef) -> bool:
        """Whether an example may be read."""
        return is_allowed(ref, self.allowed_roots)

    def fingerprint_of(self, ref: ExampleRef) -> str:
        """Hash over everything that decides an example's features."""
        return example_fingerprint(self.identity_digest, ref, self.allows(ref))


def make_config(
    model: ModelSpec,
    engine: EngineChoice,
    options: ExtractOptions,
    label_kind: LabelKind = LabelKind.CLASS,
    processes: int = 1,
) -> ExtractionConfig:
    """The config for a run.

    Args:
      model: Which model.
      engine: Which engine.
      options: All options.
      label_kind: What the labels are.
      processes: Worker processes that share the cores of a machine.
    """
    output, work = options.output, options.work
    return ExtractionConfig(
        model=model,
        engine=engine,
        output=storage.absolute(output.output) if output.output else "",
        formats=chosen_formats(options.shard.format),
        label_kind=label_kind,
        kept=options.source.keep_columns.names if options.source.keep_columns else (),
        allowed_roots=tuple(map(storage.absolute, options.source.allowed_roots)),
        resume=output.resume or output.retry_errors,
        retry_errors=output.retry_errors,
        worker_threads=work.worker_threads,
        processes=processes,
        read_threads=work.read_threads,
        launched=time.time_ns() // 1000,
    )
