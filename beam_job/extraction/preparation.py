"""Everything that is checked and decided before the first worker starts. Writes nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable
from typing import Any

from beam_job.core.errors import InputError
from beam_job.core.option_fields import check_modality
from beam_job.core.options import ExtractOptions
from beam_job.dataset import target
from beam_job.dataset.labels import LabelVocabulary
from beam_job.dataset.originals import example_files
from beam_job.engines.selection import choose_engine
from beam_job.extraction.config import ExtractionConfig, make_config
from beam_job.extraction.extractor import Extractor, new_extractor
from beam_job.extraction.kinds import check_kind
from beam_job.extraction.reading import first_examples
from beam_job.extraction.resumption import EarlierRun, check_identity, read_earlier_run
from beam_job.inputs.base import Source
from beam_job.inputs.reading import first_look
from beam_job.inputs.selection import named_columns, open_source
from beam_job.models.spec import describe_model
from beam_job.runtime import storage
from beam_job.runtime.retries import impatient

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What is known when all checks have passed and the model has answered to a probe.

    Attributes:
      options: All options.
      source: The input.
      notes: How the input is understood.
      vocabulary: The labels, if given.
      stale: Files at the target that are deleted before the run.
      earlier: The run that is resumed, or None.
      config: What every worker needs to know.
    """

    options: ExtractOptions
    source: Source
    notes: list[str]
    vocabulary: LabelVocabulary | None
    stale: list[str]
    earlier: EarlierRun | None
    config: ExtractionConfig


def prepare(
    options: ExtractOptions,
    processes: int = 1,
    acquire: Callable[[ExtractionConfig], Extractor] | None = None,
    show_step: Callable[[str], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
) -> Preparation:
    """Checks input, target and model, chooses the engine and probes the model.

    Args:
      options: All options.
      processes: Worker processes that share the cores of a machine.
      acquire: Gives the extractor that will do the work, if that happens in this process; the probe uses it. Otherwise
        the probe loads the model for itself.
      show_step: Shows what a step is about for as long as it lasts.

    Raises:
      BeamJobError: the run cannot start; the message says why.
    """
    output, resume = storage.absolute(options.output.output), options.output.resume or options.output.retry_errors
    with impatient():
        source, notes = _source(options)
        stale = target.check_target(output, options.output.overwrite, resume)
        earlier = read_earlier_run(output) if resume else None
    vocabulary = _vocabulary(options, source)
    with show_step(f"loading {options.model.model}"):
        config = _config(options, source, earlier, processes)
        extractor = acquire(config) if acquire else new_extractor(config)
        extractor.probe()
        if not acquire:
            extractor.close()
    if earlier:
        check_identity(earlier, config.identity())
    notes = [*notes, *config.model.notes, *config.engine.notes]
    return Preparation(options, source, notes, vocabulary, stale, earlier, config)


def _source(options: ExtractOptions) -> tuple[Source, list[str]]:
    """The input, checked, and how it is understood."""
    try:
        source = open_source(options.source.input, named_columns(dataclasses.asdict(options.source)))
        return source, source.check()
    except OSError as error:
        raise InputError(f"The input cannot be read: {error}. docs/inputs.md says how to log in.") from None


def _vocabulary(options: ExtractOptions, source: Source) -> LabelVocabulary | None:
    """The labels, if the user or the input itself numbers them."""
    if options.source.labels:
        return LabelVocabulary.read(options.source.labels)
    names = source.vocabulary()
    return LabelVocabulary(tuple(names)) if names else None


def _config(options: ExtractOptions, source: Source, earlier: EarlierRun | None, processes: int) -> ExtractionConfig:
    spec = describe_model(options.model, options.decode)
    modality = spec.modality
    check_modality(options.source, modality.name)
    # Listed once: to open a manifest in a bucket fetches it.
    look = first_look(source, example_files(modality), options.source.allowed_roots)
    check_kind(look, spec)
    engine = choose_engine(
        spec,
        options.engine.engine,
        options.engine.precision,
        options.work.batch_size,
        lambda: spec.row_of_each(first_examples(look, modality)),
        earlier.identity["engine"][0] if earlier else None,
    )
    logger.info("engine %s in %s, %s", engine.name, engine.precision, engine.reason)
    return make_config(spec, engine, options, processes)
