"""From a model to one graph without variables: a batch of examples in, named arrays out.

Variables become constants, so that oneDNN reorders weights once rather than at every call, and so that other engines
than TensorFlow can read the graph. Training-only behaviour is off. Layers that the model has no name for are tensors of
the frozen graph; pooling becomes a part of the graph.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from beam_job.core.errors import FlagNeededError, ModelError, reason_of
from beam_job.core.records import Shape
from beam_job.modalities.base import InputRequest, Modality, ModelInput, load_examples
from beam_job.modalities.selection import choose_input
from beam_job.models.frozen import DESCRIPTION_FILE, GRAPH_FILE, FrozenModel
from beam_job.models.graphs import OUTPUT_PREFIX, Inlined, cut, find_tensor, first_steps, inline, short_name
from beam_job.models.loaders.base import LoadedModel, LoadRequest
from beam_job.models.loaders.two_parts import load_in_two_parts
from beam_job.models.pooling import has_positions, pooled
from beam_job.models.proofs import check_operations, packages_of, proven_batch, training_error
from beam_job.models.registry import LOADERS
from beam_job.models.resources import fill_tables
from beam_job.runtime.tensorflow import import_tensorflow

_SHOWN_RANKS = (2, 3, 4)
_TIMED_CALLS, _TIMED_SECONDS = 3, 0.1
_NO_STEP = frozenset(("Identity", "Const", "Placeholder", "NoOp", "Cast"))


@dataclasses.dataclass(frozen=True)
class _Opened:
    """A model in this process, with the input that it is used with.

    Attributes:
      handle: What the user calls it.
      model: The model.
      modality: What an example is.
      declared: Its input.
      shape: The shape of one example, as the modality gives it.
    """

    handle: str
    model: LoadedModel
    modality: type[Modality]
    declared: ModelInput
    shape: Shape

    @classmethod
    def of(cls, request: LoadRequest) -> _Opened:
        """Loads a model, and the one that feeds it, if there is one.

        Raises:
          ModelError: it cannot be loaded, or takes no known modality.
        """
        if request.preprocessor is None:
            model = LOADERS.get(request.form)(request)
        else:
            model = load_in_two_parts(request.preprocessor, request)
        rate = request.sample_rate or model.rate
        wanted = InputRequest(request.handle, request.size, request.modality, request.audio_window, rate)
        modality, declared, shape = choose_input(model.only_input, wanted)
        return cls(request.handle, model, modality, declared, shape)

    @property
    def is_batched(self) -> bool:
        """Whether the model takes batches."""
        return self.modality.is_batched(self.declared)

    @property
    def fixed_batch(self) -> int | None:
        """The number of examples at once that the model declares, if it fixes one."""
        if not self.is_batched:
            return 1
        return self.declared.shape[0] if self.declared.shape else None

    def row(self, shape: Any) -> Shape | None:
        """The shape of the features of one example, from that of the model's own answer; None if it is not known."""
        if shape.rank is None:
            return None
        return tuple(shape.as_list()[1:] if self.is_batched else shape.as_list()) or (1,)

    def inline(self, names: Sequence[str]) -> Inlined:
        """Its graph with some outputs and layers.

        Raises:
          ModelError: it cannot be called on batches of this shape.
        """
        tf = import_tensorflow()
        dtype = tf.as_dtype(self.declared.dtype)

        def call(batch: Any) -> Mapping[str, Any]:
            batch = self.modality.arranged(batch, self.declared)
            if dtype.is_integer and batch.dtype.is_floating:
                batch = tf.round(batch)
            return self.model.call({name: tf.cast(batch, dtype)}, names)

        (name,) = self.model.inputs
        try:
            return inline(call, self.shape, self.modality.input_dtype, self.model.owners)
        except ModelError:
            raise
        except Exception as error:  # a layer's own code raises whatever it likes
            if "AssignVariableOp" in str(error):
                raise training_error(f"{self.handle} writes to its own variables") from None
            raise ModelError(
                f"The model {self.handle} cannot be called on {self.modality.input_dtype} {[None, *self.shape]}: "
                f"{reason_of(error)}"
            ) from None


def freeze_into(folder: str, request: Mapping[str, Any], layers: Sequence[Sequence[str]], names: Sequence[str]) -> None:
    """Freezes a model for one shape of input and writes graph and description; runs in a separate process.

    Args:
      folder: Where the two files go.
      request: What is loaded, as ``LoadRequest.to_json`` gives it.
      layers: Pairs of name and pool; none for the default output.
      names: The name that each layer's feature is stored under.

    Raises:
      ModelError: the model takes no known modality, cannot be frozen, or does not give a row for each example.
    """
    tf = import_tensorflow()
    opened = _Opened.of(LoadRequest.from_json(request))
    model, modality = opened.model, opened.modality
    chosen = [(str(name), str(pool)) for name, pool in layers] or [(_only_output(model), modality.default_pool)]
    known = model.names
    wanted = [name for name, _ in chosen if name in known] or model.default_names
    inlined = opened.inline([*wanted, model.mask] if model.mask else wanted)
    outputs = {}
    with tf.Graph().as_default() as whole:
        tf.import_graph_def(inlined.definition, name="")
        for number, ((layer, pool), name) in enumerate(zip(chosen, names, strict=True)):
            tensor = _features(_find(whole, layer, inlined, opened), layer)
            mask = whole.get_tensor_by_name(inlined.outputs[model.mask]) if model.mask else None
            # Where the windows of an example are joined later, there may be no positions within one.
            stays = (not layers or modality.is_windowed(opened.shape)) and not has_positions(tensor)
            features = tensor if stays else pooled(tensor, pool, layer, mask)
            outputs[name] = tf.identity(features, name=f"{OUTPUT_PREFIX}{number}").name
        definition = cut(whole.as_graph_def(), [inlined.input, *outputs.values()])
    check_operations(definition)
    trials = functools.partial(modality.trials, opened.shape)
    batch, shapes = proven_batch(definition, inlined.input, outputs, trials, opened.fixed_batch)
    Path(folder, GRAPH_FILE).write_bytes(definition.SerializeToString())
    description = FrozenModel(
        graph=Path(folder, GRAPH_FILE),
        input=inlined.input,
        outputs=outputs,
        shapes=shapes,
        modality=modality.name,
        example_shape=opened.shape,
        declared=opened.declared,
        first_steps=first_steps(definition, inlined.input),
        batch=batch,
        parameters=inlined.parameters if model.parameters is None else model.parameters,
        packages=packages_of(definition),
        rate=model.rate,
        notes=model.notes,
    )
    Path(folder, DESCRIPTION_FILE).write_text(json.dumps(description.to_json()))


def _only_output(model: LoadedModel) -> str:
    names = model.default_names
    if len(names) != 1:
        raise FlagNeededError(f"The model has several outputs; choose with --layer: {', '.join(sorted(names))}.")
    return names[0]


def _find(graph: Any, layer: str, inlined: Inlined, opened: _Opened) -> Any:
    """The tensor of a layer, with the batch as its first axis.

    It is one that the model has a name for, or the tensor of the graph that has this name.
    """
    tf, known = import_tensorflow(), opened.model.names
    if kind := inlined.odd.get(layer):
        words = kind.removesuffix("Tensor").lower()
        raise ModelError(f"Expected {layer!r} to be an array of numbers for each example, found a {words} tensor.")
    if layer in inlined.outputs:
        tensor = graph.get_tensor_by_name(inlined.outputs[layer])
        tensor.set_shape(inlined.shapes[layer])
        return tensor if opened.is_batched else tensor[tf.newaxis]
    if layer in known:
        raise ModelError(
            f"The layer {layer!r} has no one answer for each example: it is not called, called several times, called "
            f"within a loop, or answers with several arrays. Choose a tensor of the graph, as 'beam-job inspect-model' "
            f"lists them."
        )
    if opened.is_batched:
        return find_tensor(graph, layer, known)
    return find_tensor(graph, layer, known, batched=False)[tf.newaxis]


def _features(tensor: Any, layer: str) -> Any:
    """A tensor as float32 [B, ...]; one number for each example becomes [B, 1].

    Raises:
      ModelError: it holds no real numbers.
    """
    tf = import_tensorflow()
    if tensor.dtype.is_complex or not (tensor.dtype.is_floating or tensor.dtype.is_integer or tensor.dtype.is_bool):
        found = "complex numbers" if tensor.dtype.is_complex else f"the type {tensor.dtype.name}"
        raise ModelError(f"Expected features that are real numbers in {layer!r}, found {found}.")
    numbers = tf.cast(tensor, tf.float32)
    return tf.expand_dims(numbers, 1) if tensor.shape.rank == 1 else numbers


def list_names(request: Mapping[str, Any]) -> dict[str, Any]:
    """What ``--layer`` may name; runs in a separate process.

    Args:
      request: What is loaded, as ``LoadRequest.to_json`` gives it.

    Returns:
      ``modality``, its name; ``outputs`` and ``tensors``, name to the shape for one example, None where it is not
      known; and ``layers``, each with its path, kind, parameters and shape.
    """
    opened = _Opened.of(LoadRequest.from_json(request))
    model, tf = opened.model, import_tensorflow()
    inlined = opened.inline(model.names)
    shapes = {name: opened.row(shape) for name, shape in inlined.shapes.items()}
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(inlined.definition, name="")
        tensors = {
            short_name(operation.name): opened.row(operation.outputs[0].shape)
            for operation in graph.get_operations()
            if operation.outputs and _is_feature(operation, opened.is_batched)
        }
    layers = [{**dataclasses.asdict(layer), "shape": shapes.get(layer.path)} for layer in model.layers]
    outputs = {name: shapes.get(name) for name in model.outputs}
    return {"modality": opened.modality.name, "outputs": outputs, "layers": layers, "tensors": tensors}


def _is_feature(operation: Any, batched: bool) -> bool:
    tensor = operation.outputs[0]
    known = tensor.dtype.is_floating and tensor.shape.rank in _SHOWN_RANKS
    return bool(known and operation.type not in _NO_STEP and (tensor.shape[0] is None or not batched))


def time_names(request: Mapping[str, Any], names: Sequence[str], examples: str) -> dict[str, float]:
    """Milliseconds per example in one thread up to each name that has a tensor; runs in a separate process.

    Args:
      request: What is loaded, as ``LoadRequest.to_json`` gives it.
      names: Outputs, layers and tensors.
      examples: Path of a file that ``save_examples`` wrote, of which as many are used as the model takes at once.
    """
    tf = import_tensorflow()
    opened = _Opened.of(LoadRequest.from_json(request))
    known = opened.model.names
    inlined = opened.inline([name for name in names if name in known])
    stored = load_examples(examples)
    size = opened.fixed_batch or 1
    batch = np.stack(list(itertools.islice(itertools.cycle(stored if opened.fixed_batch else stored[:1]), size)))
    settings = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    times: dict[str, float] = {}
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph, config=settings) as session:
        tf.import_graph_def(inlined.definition, name="")
        fill_tables(session)
        for name in names:
            with contextlib.suppress(ModelError, tf.errors.OpError):
                tensor = _find(graph, name, inlined, opened)
                # Only whether it is computed matters, not that it is handed over.
                run = session.make_callable(tensor.op, feed_list=[inlined.input])
                times[name] = round(_fastest(functools.partial(run, batch)) * 1000 / size, 3)
    return times


def _fastest(call: Callable[[], Any]) -> float:
    """Seconds of the fastest of some calls, after one that is not counted."""
    call()
    seconds: list[float] = []
    while sum(seconds) < _TIMED_SECONDS or len(seconds) < _TIMED_CALLS:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
