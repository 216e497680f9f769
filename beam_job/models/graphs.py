"""Graphs of TensorFlow without variables: made from a model's call, simplified, cut, and read.

Loops and branches stay functions of their own, so the nodes of a graph are plain data flow, in which equal ones may be
merged.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from beam_job.core.errors import ModelError
from beam_job.core.records import Shape
from beam_job.modalities.base import FirstSteps
from beam_job.models.branches import SWITCH_OPERATIONS, source_of, without_untaken_branches
from beam_job.models.resources import filling, with_resources
from beam_job.runtime.tensorflow import import_tensorflow

OUTPUT_PREFIX = "beam_job_output_"
_INPUT = "beam_job_input"
_NAMES_SHOWN = 5
_CALLS = re.compile(r"^((Stateful)?PartitionedCall(_\d+)?/)+")
_ORDERED = frozenset(("Sub", "RealDiv"))  # whose operands cannot be exchanged
_LOOKS = frozenset(("Shape", "ShapeN"))  # what only looks at a tensor's shape
_COPIES = frozenset(("Identity", "Cast", "Round", "Transpose", "StopGradient", "PreventGradient", "EnsureShape"))
# An operation to what it does to the two numbers of an affine step, given its constant.
_STEPS: Mapping[str, Callable[[Any, Any, Any], tuple[Any, Any]]] = {
    "Mul": lambda factor, offset, by: (factor * by, offset * by),
    "RealDiv": lambda factor, offset, by: (factor / by, offset / by),
    "AddV2": lambda factor, offset, by: (factor, offset + by),
    "Add": lambda factor, offset, by: (factor, offset + by),
    "BiasAdd": lambda factor, offset, by: (factor, offset + by),
    "Sub": lambda factor, offset, by: (factor, offset - by),
}


@dataclasses.dataclass(frozen=True)
class Inlined:
    """What a model computes, without variables and calls of functions.

    Attributes:
      definition: The GraphDef.
      input: The name of its input tensor.
      outputs: Name to the name of its tensor, for what was asked for and found.
      shapes: Name to the TensorShape, likewise, as the model itself knows it.
      odd: Name to the class of what is no plain tensor, such as ``RaggedTensor``.
      parameters: How many numbers its variables held.
    """

    definition: Any
    input: str
    outputs: Mapping[str, str]
    shapes: Mapping[str, Any]
    odd: Mapping[str, str]
    parameters: int


def inline(call: Callable[[Any], Mapping[str, Any]], shape: Shape, dtype: str, owners: Sequence[Any]) -> Inlined:
    """The graph of a call.

    Args:
      call: From a batch to tensors by name.
      shape: The shape of one example.
      dtype: Its type.
      owners: What holds the model's variables and tables.

    Raises:
      Exception: whatever the call or TensorFlow raises.
    """
    tf = import_tensorflow()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    names: list[str] = []
    odd: dict[str, str] = {}

    def entry(batch: Any) -> list[Any]:
        answers = call(batch)
        odd.update({name: type(value).__name__ for name, value in answers.items() if not isinstance(value, tf.Tensor)})
        names.extend(name for name in answers if name not in odd)
        return [answers[name] for name in names]

    spec = tf.TensorSpec([None, *shape], dtype, name=_INPUT)
    concrete = tf.function(entry, autograph=False).get_concrete_function(spec)
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    captures = {tensor.name: handle for handle, tensor in concrete.graph.captures}
    handles = {source_of(tensor.name): captures[tensor.name] for tensor in frozen.inputs[1:]}
    variables = [variable for variable in concrete.graph.variables if variable.dtype.is_floating]
    outputs = {name: tensor.name for name, tensor in zip(names, frozen.outputs, strict=True)}
    shapes = {name: tensor.shape for name, tensor in zip(names, concrete.outputs, strict=True)}
    definition = with_resources(frozen.graph.as_graph_def(), handles, owners)
    kept = [frozen.inputs[0].name, *outputs.values(), *(node.name for node in filling(definition))]
    definition = without_untaken_branches(definition, kept)
    parameters = sum(variable.shape.num_elements() for variable in variables)
    return Inlined(definition, frozen.inputs[0].name, outputs, shapes, odd, parameters)


def cut(definition: Any, tensors: Sequence[str]) -> Any:
    """The part of a graph that tensors depend on, with each computation once, and with what fills its tables."""
    tf = import_tensorflow()
    extract = tf.compat.v1.graph_util.extract_sub_graph
    merged, nodes = _merged(definition), [source_of(tensor) for tensor in tensors]
    used = {node.name for node in extract(merged, nodes).node}
    part = extract(merged, nodes + [node.name for node in filling(merged) if source_of(node.input[0]) in used])
    used = {function.signature.name for function in _functions(part)}
    kept = [function for function in part.library.function if function.signature.name in used]
    del part.library.function[:]
    part.library.function.extend(kept)
    return part


def operations(definition: Any) -> Iterator[Any]:
    """Every node of a graph, those of the functions that it calls included."""
    yield from definition.node
    for function in _functions(definition):
        yield from function.node_def


def _functions(definition: Any) -> Iterator[Any]:
    """Every function of a graph's library that it calls, directly or in another one."""
    library = {function.signature.name: function for function in definition.library.function}
    waiting, seen = [definition.node], set()
    while waiting:
        for called in called_functions(waiting.pop()):
            if called.name in library and called.name not in seen:
                seen.add(called.name)
                yield library[called.name]
                waiting.append(library[called.name].node_def)


def called_functions(nodes: Iterable[Any]) -> Iterator[Any]:
    """Where nodes name the functions that they call; a name may be changed there. Empty names are among them."""
    for node in nodes:
        for attribute in node.attr.values():
            yield from (attribute.func, *attribute.list.func)


def _merged(definition: Any) -> Any:
    """The graph with each computation once, so that several signatures of a model share its layers."""
    import_tensorflow()
    from tensorflow.python.framework import op_def_registry

    if any(node.op in SWITCH_OPERATIONS for node in definition.node):
        return definition  # equal nodes may be in different branches, or in different rounds of a loop
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
        known = op_def_registry.get(node.op)
        if known is not None and not known.is_stateful and not node.name.startswith(OUTPUT_PREFIX):
            key = (node.op, tuple(node.input), tuple(attributes))
            same[node.name] = first.setdefault(key, node.name)
    return definition


def short_name(name: str) -> str:
    """A tensor's name without the calls that it was inlined from, whose number depends on the other outputs."""
    return _CALLS.sub("", name)


def find_tensor(graph: Any, name: str, known: Sequence[str], batched: bool = True) -> Any:
    """The tensor of a graph that a user calls ``name``.

    Args:
      graph: The graph.
      name: The name, with or without the number of the output.
      known: Other names that a user may give, to suggest.
      batched: Whether the first axis of features is the batch.

    Raises:
      ModelError: there is none, or it is not one of features.
    """
    operation_name, _, number = name.partition(":")
    found: dict[str, Any] = {}
    for operation in graph.get_operations():
        if operation.outputs:
            found.setdefault(short_name(operation.name), operation)
    operation = found.get(short_name(operation_name))
    if operation is None or int(number or 0) >= len(operation.outputs):
        close = difflib.get_close_matches(name, [*known, *found], n=_NAMES_SHOWN, cutoff=0.4)
        nearest = f"; the nearest: {', '.join(close)}" if close else ""
        raise ModelError(
            f"The model has no layer, output or tensor {name!r}{nearest}. 'beam-job inspect-model' lists them."
        )
    tensor = operation.outputs[int(number or 0)]
    if tensor.shape.rank == 0 or (batched and tensor.shape.rank and tensor.shape[0] is not None):
        raise ModelError(f"Expected --layer to name features of each example, found {name!r} of shape {tensor.shape}.")
    return tensor


def first_steps(definition: Any, input_name: str) -> FirstSteps | None:
    """The arithmetic with constants that a graph does to its input before anything else; None without any."""
    tf = import_tensorflow()
    users: dict[str, list[Any]] = {}
    for node in definition.node:
        for tensor in node.input:
            if node.op not in _LOOKS:
                users.setdefault(source_of(tensor), []).append(node)
    here, factor, offset = source_of(input_name), np.ones(1), np.zeros(1)
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.import_graph_def(definition, name="")
        while len(users.get(here, ())) == 1:
            (node,) = users[here]
            if node.op not in (*_STEPS, *_COPIES):
                break
            if node.op in _STEPS:
                value = _constant(session, node, here)
                if value is None:
                    break
                factor, offset = _STEPS[node.op](factor, offset, value)
            here = node.name
    if np.all(factor == 1) and np.all(offset == 0):
        return None
    return FirstSteps(tuple(map(float, factor)), tuple(map(float, offset)))


def _constant(session: Any, node: Any, here: str) -> npt.NDArray[np.float64] | None:
    """The constant of an arithmetic step on ``here``, [1] or [3]; None if there is none, or one for each position."""
    tf = import_tensorflow()
    others = [tensor for tensor in node.input if source_of(tensor) != here and not tensor.startswith("^")]
    if len(others) != 1 or (node.op in _ORDERED and source_of(node.input[0]) != here):
        return None
    try:
        value = session.run(others[0] if ":" in others[0] else f"{others[0]}:0")
    except tf.errors.OpError:  # it depends on the input
        return None
    return np.asarray(value, np.float64).ravel() if value.size in (1, 3) else None
