"""From a model to one graph without variables: a batch of examples in, named arrays out.

Variables become constants, so that oneDNN reorders weights once rather than at every call, and so that other engines
than TensorFlow can read the graph. Training-only behaviour is off. Layers that the model has no name for are tensors of
the frozen graph; pooling becomes a part of the graph.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from beam_job.core.errors import FlagNeededError, ModelError
from beam_job.core.values import ImageSize
from beam_job.modalities.base import InputRequest, Modality, Shape
from beam_job.modalities.selection import modality_of
from beam_job.models.frozen import DESCRIPTION_FILE, GRAPH_FILE, FrozenModel
from beam_job.models.loaders.base import LoadedModel, first_line
from beam_job.models.registry import LOADERS
from beam_job.runtime.tensorflow import import_tensorflow

_NAMES_SHOWN = 5
_OUTPUT = "beam_job_output_"
_CALLS = re.compile(r"^((Stateful)?PartitionedCall(_\d+)?/)+")
# Keras, for one, exports a model that begins with RandomFlip with all of its layers in training mode.
_TRAINING = (
    "Expected a model in inference mode, but {what}: it was exported in training mode, and its features would depend "
    "on random numbers or on the rest of the batch. Export it without its augmentation layers, or give its .keras "
    "file, which is called with training=False."
)


@dataclasses.dataclass(frozen=True)
class _Frozen:
    """A model without variables and functions.

    Attributes:
      graph: The TensorFlow graph.
      input: The name of its input tensor.
      outputs: Output to the name of its tensor, for the requested outputs.
      parameters: How many numbers its variables held.
    """

    graph: Any
    input: str
    outputs: Mapping[str, str]
    parameters: int


def freeze_into(
    folder: str,
    handle: str,
    form: str,
    path: str,
    weights: str | None,
    size: Sequence[int] | None,
    layers: Sequence[Sequence[str]],
    names: Sequence[str],
) -> None:
    """Freezes a model for one shape of input and writes graph and description; runs in a separate process.

    Args:
      folder: Where the two files go.
      handle: What the user calls the model, for messages.
      form: See :class:`beam_job.models.sources.base.Artefact`; path and weights likewise.
      path: See there.
      weights: See there.
      size: Height and width of images, or None for what the model itself fixes.
      layers: Pairs of name and pool; none for the default output.
      names: The name that each layer's feature is stored under.

    Raises:
      ModelError: the model takes no known modality, or cannot be frozen.
    """
    model, modality, shape = _load(handle, form, path, weights, size)
    chosen = [(str(name), str(pool)) for name, pool in layers] or [(_only_output(model), "none")]
    frozen = _inline(model, modality, [name for name, _ in chosen], shape, handle)
    definition, outputs, shapes = _with_outputs(frozen, chosen, names, list(model.outputs))
    Path(folder, GRAPH_FILE).write_bytes(definition)
    description = FrozenModel(
        graph=Path(folder, GRAPH_FILE),
        input=frozen.input,
        outputs=outputs,
        shapes=shapes,
        modality=modality.name,
        example_shape=shape,
        integer_input=_is_integer(model),
        parameters=frozen.parameters if model.parameters is None else model.parameters,
    )
    Path(folder, DESCRIPTION_FILE).write_text(json.dumps(description.to_json()))


def list_tensors(
    handle: str, form: str, path: str, weights: str | None, size: Sequence[int] | None
) -> dict[str, dict[str, Shape | None]]:
    """What ``--layer`` may name: ``outputs`` that the model has names for, and ``tensors`` of its graph.

    Returns:
      Name to the shape for one example, None where it is not known. Only floating-point results of a step that is more
      than a copy are listed among the tensors.
    """
    model, modality, shape = _load(handle, form, path, weights, size)
    frozen = _inline(model, modality, model.default_names, shape, handle)
    tensors = {
        _short(operation.name): tuple(operation.outputs[0].shape.as_list()[1:])
        for operation in frozen.graph.get_operations()
        if operation.outputs and _is_feature(operation)
    }
    return {"outputs": dict(model.outputs), "tensors": dict(tensors)}


def _load(
    handle: str, form: str, path: str, weights: str | None, size: Sequence[int] | None
) -> tuple[LoadedModel, type[Modality], Shape]:
    """The model, the modality that it takes, and the shape of one example."""
    model = LOADERS.get(form)(path, weights, ImageSize(*size) if size else None)
    modality = modality_of(model.input)
    return model, modality, modality.input_shape(model.input, InputRequest(handle, tuple(size) if size else None))


def _is_integer(model: LoadedModel) -> bool:
    return model.input.dtype.startswith(("int", "uint"))


def _is_feature(operation: Any) -> bool:
    tensor = operation.outputs[0]
    step = operation.type not in ("Identity", "Const", "Placeholder", "NoOp", "Cast")
    return bool(step and tensor.dtype.is_floating and tensor.shape.rank in (2, 4) and tensor.shape[0] is None)


def _only_output(model: LoadedModel) -> str:
    names = model.default_names
    if len(names) != 1:
        raise FlagNeededError(f"The model has several outputs; choose with --layer: {', '.join(sorted(names))}.")
    return names[0]


def _inline(model: LoadedModel, modality: type[Modality], chosen: Sequence[str], shape: Shape, handle: str) -> _Frozen:
    """The model without variables and functions, with the chosen outputs; the default ones if it knows none of them."""
    tf = import_tensorflow()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    wanted = list(dict.fromkeys([name for name in chosen if name in model.outputs] or model.default_names))

    def entry(batch: Any) -> Any:
        if _is_integer(model) and batch.dtype.is_floating:
            batch = tf.round(batch)
        answers = model.call(tf.cast(batch, model.input.dtype), wanted)
        return [answers[name] for name in wanted]

    spec = tf.TensorSpec([None, *shape], modality.input_dtype, name="beam_job_input")
    try:
        concrete = tf.function(entry, autograph=False).get_concrete_function(spec)
        frozen = convert_variables_to_constants_v2(concrete)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        if "AssignVariableOp" in str(error):
            raise ModelError(_TRAINING.format(what=f"{handle} writes to its own variables")) from None
        raise ModelError(
            f"The model {handle} cannot be called on {modality.input_dtype} {spec.shape}: {first_line(error)}"
        ) from None
    outputs = {name: tensor.name for name, tensor in zip(wanted, frozen.outputs, strict=True)}
    parameters = sum(
        variable.shape.num_elements() for variable in concrete.graph.variables if variable.dtype.is_floating
    )
    return _Frozen(frozen.graph, frozen.inputs[0].name, outputs, parameters)


def _with_outputs(
    frozen: _Frozen, chosen: Sequence[tuple[str, str]], names: Sequence[str], public: Sequence[str]
) -> tuple[bytes, dict[str, str], dict[str, tuple[int, ...]]]:
    """The graph cut to the chosen tensors, pooled and as float32, with the names and the shapes of its outputs."""
    tf = import_tensorflow()
    outputs, shapes = {}, {}
    with tf.Graph().as_default() as whole:
        tf.import_graph_def(frozen.graph.as_graph_def(), name="")
        for number, ((layer, pool), name) in enumerate(zip(chosen, names, strict=True)):
            tensor = _find(whole, layer, frozen.outputs, public)
            result = tf.identity(_pooled(tf.cast(tensor, tf.float32), pool, layer), name=f"{_OUTPUT}{number}")
            outputs[name] = result.name
            shapes[name] = tuple(-1 if length is None else length for length in result.shape.as_list()[1:])
    kept = [frozen.input.partition(":")[0], *(tensor.partition(":")[0] for tensor in outputs.values())]
    definition = tf.compat.v1.graph_util.extract_sub_graph(_merged(whole.as_graph_def()), kept)
    _check_inference(definition)
    return definition.SerializeToString(), outputs, shapes


def _merged(definition: Any) -> Any:
    """The graph with each computation once, so that several signatures of a model share its layers."""
    same: dict[str, str] = {}
    first: dict[tuple[Any, ...], str] = {}
    for node in definition.node:
        # Control inputs only order side effects, which a graph of constants does not have.
        sources = [source.partition(":") for source in node.input if not source.startswith("^")]
        del node.input[:]
        node.input.extend(same.get(name, name) + colon + number for name, colon, number in sources)
        attributes = sorted(
            (name, value.SerializeToString(deterministic=True))
            for name, value in node.attr.items()
            if not name.startswith("_")
        )
        key = (node.op, tuple(node.input), tuple(attributes))
        if node.op != "Placeholder" and not node.name.startswith(_OUTPUT):
            same[node.name] = first.setdefault(key, node.name)
    return definition


def _short(name: str) -> str:
    """A tensor's name without the calls that it was inlined from, whose number depends on the other outputs."""
    return _CALLS.sub("", name)


def _check_inference(definition: Any) -> None:
    """Refuses a graph whose features of an example depend on chance or on the rest of the batch."""
    for node in definition.node:
        if "Random" in node.op or node.op == "Multinomial":
            raise ModelError(_TRAINING.format(what=f"the model draws random numbers ({node.name})"))
        if node.op.startswith("FusedBatchNorm") and node.attr["is_training"].b:
            raise ModelError(_TRAINING.format(what=f"the model normalises by the batch ({node.name})"))


def _find(graph: Any, layer: str, known: Mapping[str, str], public: Sequence[str]) -> Any:
    """The tensor of a layer: an output that the model knows, or the tensor of the graph that has this name.

    Args:
      graph: The whole graph.
      layer: What the user asked for.
      known: Output to the name of its tensor, for the requested outputs.
      public: All names that the model itself knows, to suggest.
    """
    if layer in known:
        return graph.get_tensor_by_name(known[layer])
    name, _, number = layer.partition(":")
    operations: dict[str, Any] = {}
    for operation in graph.get_operations():
        if operation.outputs:
            operations.setdefault(_short(operation.name), operation)
    operation = operations.get(_short(name))
    if operation is None or int(number or 0) >= len(operation.outputs):
        close = difflib.get_close_matches(layer, [*public, *operations], n=_NAMES_SHOWN, cutoff=0.4)
        nearest = f"; the nearest: {', '.join(close)}" if close else ""
        raise ModelError(
            f"The model has no layer, output or tensor {layer!r}{nearest}. 'beam-job inspect-model' lists them."
        )
    tensor = operation.outputs[int(number or 0)]
    if tensor.shape.rank == 0 or (tensor.shape.rank and tensor.shape[0] is not None):
        raise ModelError(f"Expected --layer to name features of each example, found {layer!r} of shape {tensor.shape}.")
    return tensor


def _pooled(tensor: Any, pool: str, layer: str) -> Any:
    tf = import_tensorflow()
    if pool == "none":
        return tensor
    if pool == "flatten":
        length = tensor.shape[1:].num_elements() if tensor.shape.rank else None
        return tf.reshape(tensor, [-1, length] if length else [tf.shape(tensor)[0], -1])
    if tensor.shape.rank != 4:
        raise ModelError(
            f"{pool} pools a map [height, width, channels], and {layer!r} has the shape {tuple(tensor.shape[1:])}; "
            f"leave {pool} out."
        )
    reduce = {"avg": tf.reduce_mean, "max": tf.reduce_max}[pool]
    return reduce(tensor, axis=[1, 2])
