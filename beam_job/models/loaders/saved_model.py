"""Loads SavedModels: those that can be called, and those that only have signatures."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from beam_job.core.errors import ModelError, reason_of
from beam_job.modalities.base import ModelInput
from beam_job.modalities.selection import find_modality
from beam_job.models.loaders.base import SAMPLE_RATE, SWITCHES, LoadedModel, LoadRequest, by_name
from beam_job.models.loaders.entry_points import (
    CALL,
    EntryPoint,
    declared_input,
    fed_inputs,
    is_rate,
    loaded_model,
    settings,
)
from beam_job.runtime.tensorflow import TEXT_OPERATIONS, import_operations, import_tensorflow

_UNKNOWN_OPERATION = re.compile(r"Op type not registered '([^']+)'")
# Parts of the names of tensorflow-text's operations.
_TEXT_OPERATION = re.compile(r"Token|Sentencepiece|UTF8|Bert|RegexSplit|Wordpiece|Sentence|Ngram|Utf8")
T = TypeVar("T")
_TAGS = re.compile(r"`tags=` argument|MetaGraph")


def load_saved_model(request: LoadRequest) -> LoadedModel:
    """A SavedModel, through its own call if that takes examples, otherwise through the signature that does."""
    tf = import_tensorflow()
    model = with_text_operations(lambda: tf.saved_model.load(request.path, request.tags), request)
    points = [*_own_call(model, request), *_signatures(dict(getattr(model, "signatures", {})), request)]
    return loaded_model(points, request, model)


def with_text_operations(load: Callable[[], T], request: LoadRequest) -> T:
    """What ``load`` loads, with the operations of tensorflow-text if it needs them.

    Raises:
      UsageError: they are not installed.
      ModelError: it cannot be loaded.
    """
    try:
        return load()
    except Exception as error:  # TensorFlow raises whatever damaged files lead to
        if not _may_be_of_text(str(error)):
            raise ModelError(explained(error, request)) from None
    import_operations(TEXT_OPERATIONS)
    try:
        return load()
    except Exception as error:  # likewise
        raise ModelError(explained(error, request)) from None


def _may_be_of_text(words: str) -> bool:
    """Whether an error is about an operation that tensorflow-text may have."""
    operation = _UNKNOWN_OPERATION.search(words)
    installed = importlib.util.find_spec(TEXT_OPERATIONS) is not None
    return operation is not None and (installed or _TEXT_OPERATION.search(operation[1]) is not None)


def explained(error: Exception, request: LoadRequest) -> str:
    """What a SavedModel that cannot be loaded lacks, in a sentence."""
    words, path = str(error), Path(request.path)
    if operation := _UNKNOWN_OPERATION.search(words):
        return f"The model at {request.handle} needs the operation {operation[1]}, which this TensorFlow does not have."
    if _TAGS.search(words) and (found := _tag_sets(request.path)):
        wanted = ",".join(request.tags or ())
        what = f"has no graph with the tags {wanted}" if wanted else "holds several graphs"
        return f"The SavedModel at {request.handle} {what}; choose with --tags: {' or '.join(found)}."
    if not (path / "variables").is_dir() and ("TensorSliceReader" in words or "variables" in words):
        return f"The SavedModel at {request.handle} lacks its directory 'variables'; copy the whole directory."
    return f"The SavedModel at {request.handle} cannot be loaded: {reason_of(error)}"


def _tag_sets(path: str) -> list[str]:
    """The tags of the graphs of a SavedModel, as --tags takes them."""
    from tensorflow.python.tools import saved_model_utils

    return sorted(",".join(sorted(tags)) for tags in saved_model_utils.get_saved_model_tag_sets(path) if tags)


def _signatures(signatures: Mapping[str, Any], request: LoadRequest) -> Iterator[EntryPoint]:
    """The signatures of a model; switches to training are off."""

    def called(signature: Any, declared: Iterable[ModelInput], batches: Mapping[str, Any]) -> dict[str, Any]:
        return by_name(signature(**batches, **settings(declared, request)))

    for name, signature in signatures.items():
        _, specs = signature.structured_input_signature
        declared = [declared_input(argument, spec) for argument, spec in specs.items()]
        inputs = fed_inputs(declared)
        call = functools.partial(called, signature, declared)
        outputs = tuple(by_name(signature.structured_outputs))
        yield EntryPoint(name, inputs, outputs, call, needs_rate=any(map(is_rate, declared)))


@dataclasses.dataclass(frozen=True)
class _Trace:
    """One of the functions that a model's call was traced to.

    Attributes:
      inputs: Its inputs, by the name of the argument, or of the entry of the dictionary that an argument is.
      dictionary: The name of the argument that is a dictionary of its inputs, or None.
      others: The values of its other arguments that have no default, or that switch to training, which is off.
      training: Whether it was traced for training.
      rate: Samples of sound per second that it was traced for, or that it takes by default; None if it does not say.
      needs_rate: Whether it is told the rate, in an argument without a default.
      outputs: The names of its outputs.
    """

    inputs: Mapping[str, ModelInput]
    dictionary: str | None
    others: Mapping[str, Any]
    training: bool
    rate: int | None
    needs_rate: bool
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, function: Any, defaults: Mapping[str, Any], request: LoadRequest) -> _Trace:
        """The trace of a concrete function of a call whose arguments ``defaults`` may be left out."""
        tf = import_tensorflow()
        inputs: dict[str, ModelInput] = {}
        others: dict[str, Any] = {}
        dictionary, needs_rate = None, False
        for name, parameter in function.function_type.parameters.items():
            constraint = parameter.type_constraint
            if name in defaults and name not in SWITCHES:
                continue
            if hasattr(constraint, "value"):  # a Python value
                others[name] = constraint.value
            elif not inputs and (entries := _entries(constraint)):
                dictionary = name
                inputs.update({entry: declared_input(entry, spec) for entry, spec in entries.items()})
            elif not isinstance(constraint, tf.TensorSpec):  # another structure of several
                inputs[name] = ModelInput(name, type(constraint).__name__.lower(), None)
            elif setting := settings([declared_input(name, constraint)], request):
                others.update(setting)
                needs_rate = needs_rate or name == SAMPLE_RATE
            else:
                inputs[name] = declared_input(constraint.name or name, constraint)
        training = any(name in SWITCHES and isinstance(value, (bool, int)) and value for name, value in others.items())
        rate = None if needs_rate else others.get(SAMPLE_RATE, defaults.get(SAMPLE_RATE))
        outputs = tuple(by_name(function.structured_outputs))
        return cls(inputs, dictionary, others, training, None if rate is None else int(rate), needs_rate, outputs)


def _own_call(model: Any, request: LoadRequest) -> Iterator[EntryPoint]:
    """The call of a reusable SavedModel, as it was traced for inference.

    Raises:
      ModelError: it was traced for training only.
    """
    call_function = model.__call__ if callable(model) else None
    parameters = getattr(getattr(call_function, "function_type", None), "parameters", {})
    values = getattr(call_function, "_default_values", None) or {}
    defaults = {name: values.get(name) for name, parameter in parameters.items() if parameter.optional}
    traces = [_Trace.of(function, defaults, request) for function in getattr(call_function, "concrete_functions", ())]
    usable = [trace for trace in traces if not trace.training]
    if traces and not usable:
        raise ModelError(
            f"Expected a model in inference mode, but the call of {request.handle} was traced for training only; call "
            f"it once with training=False before it is saved."
        )
    if not usable:
        return
    fit = [trace for trace in usable if _fits(trace, request)] or usable[:1]
    main = fit[0]
    alike = [trace for trace in fit if (list(trace.inputs), trace.dictionary) == (list(main.inputs), main.dictionary)]
    inputs = {name: tuple(dict.fromkeys(trace.inputs[name] for trace in alike)) for name in main.inputs}

    def call(batches: Mapping[str, Any]) -> dict[str, Any]:
        given = {main.dictionary: dict(batches)} if main.dictionary else batches
        return by_name(model(**given, **main.others))

    yield EntryPoint(CALL, inputs, main.outputs, call, main.rate, main.needs_rate)


def _fits(trace: _Trace, request: LoadRequest) -> bool:
    """Whether a trace takes what the model is given."""
    if request.fed:
        return set(trace.inputs) <= set(request.fed)
    return len(trace.inputs) == 1 and all(
        find_modality(declared, request.modality) for declared in trace.inputs.values()
    )


def _entries(constraint: Any) -> dict[str, Any]:
    """The specifications in an argument that is a dictionary of tensors; none for another one."""
    tf = import_tensorflow()
    entries = getattr(constraint, "mapping", {})
    return dict(entries) if all(isinstance(spec, tf.TensorSpec) for spec in entries.values()) else {}
