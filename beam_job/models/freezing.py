"""From a model to one graph without variables: pixels in, named arrays out.

Variables become constants, so that oneDNN lays weights out once rather than at every call, and so that an engine
other than TensorFlow can read the graph. Training-only behaviour is off. Layers that the model has no name for are
tensors of the frozen graph; pooling becomes a part of the graph.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from beam_job.core.errors import FlagNeededError, ModelError
from beam_job.core.options import ImageSize
from beam_job.models.loaders.base import LOADERS, LoadedModel, Shape, first_line
from beam_job.models.spec import DESCRIPTION_FILE, GRAPH_FILE
from beam_job.runtime.tensorflow import import_tensorflow

_NAMES_SHOWN = 5
_OUTPUT = "beam_job_output_"
_CALLS = re.compile(r"^((Stateful)?PartitionedCall(_\d+)?/)+")
# Keras, for one, exports a model that begins with RandomFlip with all of its layers in training mode.
_TRAINING = (
    "Expected a model in inference mode, but {what}: it was exported in training mode, and its features would depend "
    "on chance or on what else is in the batch. Export it without its augmentation layers, or give its .keras file, "
    "which is called with training=False."
)


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
    """Freezes a model for images of one size and writes graph and description; runs in a process of its own.

    Args:
      folder: Where the two files go.
      handle: What the user calls the model, for messages.
      form: See :class:`beam_job.models.spec.Artefact`; path and weights likewise.
      path: See there.
      weights: See there.
      size: Height and width, or None for what the model itself fixes.
      layers: Pairs of name and pool; none for the default output.
      names: The name that each layer's feature is stored under.

    Raises:
      ModelError: the model is no image model that can be frozen.
    """
    model = LOADERS.get(form)(path, weights, ImageSize(*size) if size else None)
    height, width = _input_size(model, size, handle)
    chosen = [(str(name), str(pool)) for name, pool in layers] or [(_only_output(model), "none")]
    graph, source, known, read = _inline(model, chosen, height, width, handle)
    definition, outputs, shapes = _with_outputs(graph, source, known, chosen, names, list(model.outputs))
    Path(folder, GRAPH_FILE).write_bytes(definition)
    description = {
        "input": source,
        "outputs": outputs,
        "shapes": shapes,
        "size": [height, width],
        "integer_input": bool(model.dtype.is_integer),
        "parameters": read if model.parameters is None else model.parameters,
    }
    Path(folder, DESCRIPTION_FILE).write_text(json.dumps(description))


def list_tensors(
    handle: str, form: str, path: str, weights: str | None, size: Sequence[int] | None
) -> dict[str, dict[str, Shape | None]]:
    """What ``--layer`` may name: ``outputs`` that the model has names for, and ``tensors`` of its graph.

    Returns:
      Name to the shape for one image, None where it is not known. Only floating-point results of a step that is no
      mere copy are listed among the tensors.
    """
    model = LOADERS.get(form)(path, weights, ImageSize(*size) if size else None)
    height, width = _input_size(model, size, handle)
    names = model.default_names
    graph, _, _, _ = _inline(model, [(name, "none") for name in names], height, width, handle)
    tensors = {
        _short(operation.name): tuple(operation.outputs[0].shape.as_list()[1:])
        for operation in graph.get_operations()
        if operation.outputs and _is_feature(operation)
    }
    return {"outputs": dict(model.outputs), "tensors": dict(tensors)}


def _is_feature(operation: Any) -> bool:
    tensor = operation.outputs[0]
    step = operation.type not in ("Identity", "Const", "Placeholder", "NoOp", "Cast")
    return bool(step and tensor.dtype.is_floating and tensor.shape.rank in (2, 4) and tensor.shape[0] is None)


def _input_size(model: LoadedModel, size: Sequence[int] | None, handle: str) -> tuple[int, int]:
    fixed_height, fixed_width = model.size
    if size is None:
        if fixed_height is None or fixed_width is None:
            raise FlagNeededError(
                f"The model {handle} takes images of any size; give the one it is to be used with, such as "
                f"--image_size=224."
            )
        return fixed_height, fixed_width
    height, width = size
    if fixed_height not in (None, height) or fixed_width not in (None, width):
        raise ModelError(
            f"The model {handle} takes images of {fixed_height}x{fixed_width} pixels, found "
            f"--image_size={height}x{width}."
        )
    return height, width


def _only_output(model: LoadedModel) -> str:
    names = model.default_names
    if len(names) != 1:
        raise FlagNeededError(f"The model has several outputs; choose with --layer: {', '.join(sorted(names))}.")
    return names[0]


def _inline(
    model: LoadedModel, chosen: Sequence[tuple[str, str]], height: int, width: int, handle: str
) -> tuple[Any, str, dict[str, str], int]:
    """The graph without variables and functions, the name of its input, the tensors of the outputs by name.

    And, last, how many numbers its variables had.
    """
    tf = import_tensorflow()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    wanted = [name for name, _ in chosen if name in model.outputs] or list(model.default_names)

    def entry(images: Any) -> Any:
        if model.dtype.is_integer:
            images = tf.round(images)
        answers = model.call(tf.cast(images, model.dtype), list(dict.fromkeys(wanted)))
        return [answers[name] for name in dict.fromkeys(wanted)]

    spec = tf.TensorSpec([None, height, width, 3], tf.float32, name="beam_job_input")
    try:
        concrete = tf.function(entry, autograph=False).get_concrete_function(spec)
        frozen = convert_variables_to_constants_v2(concrete)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        if "AssignVariableOp" in str(error):
            raise ModelError(_TRAINING.format(what=f"{handle} writes to its own variables")) from None
        raise ModelError(
            f"The model {handle} cannot be called on {height}x{width} RGB images: {first_line(error)}"
        ) from None
    known = {name: tensor.name for name, tensor in zip(dict.fromkeys(wanted), frozen.outputs, strict=True)}
    read = sum(variable.shape.num_elements() for variable in concrete.graph.variables if variable.dtype.is_floating)
    return frozen.graph, frozen.inputs[0].name, known, read


def _with_outputs(
    graph: Any,
    source: str,
    known: Mapping[str, str],
    chosen: Sequence[tuple[str, str]],
    names: Sequence[str],
    public: Sequence[str],
) -> tuple[bytes, dict[str, str], dict[str, list[int]]]:
    """The graph cut to the chosen tensors, pooled and as float32, with the names and the shapes of its outputs."""
    tf = import_tensorflow()
    outputs, shapes = {}, {}
    with tf.Graph().as_default() as whole:
        tf.import_graph_def(graph.as_graph_def(), name="")
        for number, ((layer, pool), name) in enumerate(zip(chosen, names, strict=True)):
            tensor = _find(whole, layer, known, public)
            result = tf.identity(_pooled(tf.cast(tensor, tf.float32), pool, layer), name=f"{_OUTPUT}{number}")
            outputs[name] = result.name
            shapes[name] = [-1 if length is None else length for length in result.shape.as_list()[1:]]
    kept = [source.partition(":")[0], *(tensor.partition(":")[0] for tensor in outputs.values())]
    definition = tf.compat.v1.graph_util.extract_sub_graph(_merged(whole.as_graph_def()), kept)
    _check_inference(definition)
    return definition.SerializeToString(), outputs, shapes


def _merged(definition: Any) -> Any:
    """The graph with each computation once: signatures of a model share its layers, and so does their graph here."""
    same: dict[str, str] = {}
    first: dict[tuple[Any, ...], str] = {}
    for node in definition.node:
        # Control inputs only order side effects, and a graph of constants has none.
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
    """A tensor's name without the calls that it was inlined from, whose number depends on what else is asked for."""
    return _CALLS.sub("", name)


def _check_inference(definition: Any) -> None:
    """Refuses a graph whose answer on an image changes from call to call or with its neighbours in the batch."""
    for node in definition.node:
        if "Random" in node.op or node.op == "Multinomial":
            raise ModelError(_TRAINING.format(what=f"the model draws random numbers ({node.name})"))
        if node.op.startswith("FusedBatchNorm") and node.attr["is_training"].b:
            raise ModelError(_TRAINING.format(what=f"the model normalises by the batch ({node.name})"))


def _find(graph: Any, layer: str, known: Mapping[str, str], public: Sequence[str]) -> Any:
    """The tensor of a layer: an output that the model knows, or whatever in the graph is called so.

    Args:
      graph: The whole graph.
      layer: What the user asked for.
      known: Output to its tensor, for those that were asked for.
      public: All the names that the model itself knows, to suggest.
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
        raise ModelError(f"Expected --layer to name features of each image, found {layer!r} of shape {tensor.shape}.")
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
