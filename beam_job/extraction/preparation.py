"""Everything that is checked and decided before the first worker starts. Writes nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable
from typing import Any

from beam_job.core.errors import InputError, UsageError
from beam_job.core.labels import LabelKind, kind_of
from beam_job.core.option_fields import check_modality
from beam_job.core.options import ExtractOptions
from beam_job.core.records import FOLDER_LABEL
from beam_job.dataset import target
from beam_job.dataset.labels import LabelVocabulary, Numbering
from beam_job.dataset.originals import example_files
from beam_job.engines.base import EngineChoice
from beam_job.engines.selection import choose_engine
from beam_job.extraction.config import ExtractionConfig, make_config
from beam_job.extraction.extractor import Extractor, new_extractor
from beam_job.extraction.kinds import check_kind
from beam_job.extraction.policy import RefPolicy
from beam_job.extraction.reading import first_examples
from beam_job.extraction.resumption import EarlierRun, check_identity, read_earlier_run
from beam_job.inputs.base import Source
from beam_job.inputs.reading import FirstLook, first_look
from beam_job.inputs.selection import named_columns, open_source
from beam_job.models.spec import ModelSpec, describe_model
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
      policy: What the options say of each example.
      is_counted: Whether all examples are counted before they are taken.
      numbering: How classes get their indices.
      stale: Files at the target that are deleted before the run.
      earlier: The run that is resumed, or None.
      config: What every worker needs to know.
    """

    options: ExtractOptions
    source: Source
    notes: list[str]
    policy: RefPolicy
    is_counted: bool
    numbering: Numbering
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
        policy = RefPolicy.of(options.source)
        given = _given_labels(options, source)
    with show_step(f"loading {options.model.model}"):
        spec = describe_model(options.model, options.decode)
        check_modality(options.source, spec.modality.name)
        # Listed once: to open a manifest in a bucket fetches it.
        look = first_look(source, example_files(spec.modality), options.source.allowed_roots)
        check_kind(look, spec)
        kind = _label_kind(options, source, look, policy)
        config = make_config(spec, _engine(options, spec, look, earlier), options, kind, processes)
        _check_kept(config)
        extractor = acquire(config) if acquire else new_extractor(config)
        extractor.probe()
        if not acquire:
            extractor.close()
    if earlier:
        check_identity(earlier, config.identity())
    notes = [*notes, *_label_notes(kind), *config.model.notes, *config.engine.notes]
    return Preparation(
        options=options,
        source=source,
        notes=notes,
        policy=policy.with_kind(kind),
        is_counted=options.source.max_per_class is not None or (policy.labels.chooses and _has_folders(look, policy)),
        numbering=Numbering(kind, given, policy.labels.wanted),
        stale=stale,
        earlier=earlier,
        config=config,
    )


def _source(options: ExtractOptions) -> tuple[Source, list[str]]:
    """The input, checked, and how it is understood."""
    try:
        source = open_source(options.source.input, named_columns(vars(options.source)))
        return source, source.check()
    except OSError as error:
        raise InputError(f"The input cannot be read: {error}. docs/inputs.md says how to log in.") from None


def _given_labels(options: ExtractOptions, source: Source) -> tuple[str, ...] | None:
    """The classes in the order of their indices, if the user or the input says it.

    Raises:
      InputError: they cannot be read, or can be no vocabulary.
    """
    if options.source.labels:
        return LabelVocabulary.read(options.source.labels).names
    if options.source.label_map or options.source.label_pattern:
        return None  # what the input says of its own labels tells nothing of these
    return LabelVocabulary(tuple(source.vocabulary() or ())).names or None


def _label_kind(options: ExtractOptions, source: Source, look: FirstLook, policy: RefPolicy) -> LabelKind:
    """What the labels are: as the user says, or as the first ones tell.

    Raises:
      UsageError: an option is for labels of another kind.
    """
    if options.source.label_type != "auto":
        kind = LabelKind(options.source.label_type)
    elif source.labels_are_folders and options.source.label_pattern is None:
        kind = LabelKind.CLASS
    else:
        kind = kind_of(map(policy.labels.found, look.refs))
    if kind is LabelKind.TARGET:
        for name in ("labels", "label_map", "classes"):
            if getattr(options.source, name):
                raise UsageError(f"--{name} is for classes, and the labels are numbers (--label_type=target).")
    if kind is not LabelKind.CLASS and options.source.max_per_class:
        raise UsageError(f"--max_per_class is for examples of one class each (found --label_type={kind.value}).")
    return kind


def _has_folders(look: FirstLook, policy: RefPolicy) -> bool:
    """Whether labels are folders of a container, so that it must be known which folders all examples share."""
    labels = map(policy.labels.found, look.refs)
    return any(isinstance(label, str) and label.startswith(FOLDER_LABEL) for label in labels)


def _label_notes(kind: LabelKind) -> list[str]:
    """How labels are understood, where that is not plain."""
    told = {
        LabelKind.MULTI: "an example has a list of labels, stored as 'labels'",
        LabelKind.TARGET: "the labels are numbers, stored as 'target'; if they are names, give --label_type=class",
    }
    return [told[kind]] if kind in told else []


def _check_kept(config: ExtractionConfig) -> None:
    """Checks that columns that are kept are not called as the other fields of a record.

    Raises:
      UsageError: one is.
    """
    fields = {"id", *config.model.outputs, *(kind.field for kind in LabelKind)}
    taken = {name.partition("/")[0] for name in fields}
    for name in config.kept:
        first, slash, rest = name.partition("/")
        if first in taken or (slash and (not first or not rest or first in config.kept)):
            raise UsageError(f"--keep_columns cannot keep a column {name!r}: records have a field of that name.")


def _engine(options: ExtractOptions, spec: ModelSpec, look: FirstLook, earlier: EarlierRun | None) -> EngineChoice:
    engine = choose_engine(
        spec,
        options.engine.engine,
        options.engine.precision,
        options.work.batch_size,
        lambda: spec.row_of_each(first_examples(look, spec.modality)),
        earlier.identity["engine"][0] if earlier else None,
    )
    logger.info("engine %s in %s, %s", engine.name, engine.precision, engine.reason)
    return engine
