"""Loads modules in the TF1 Hub format: a graph without tags for inference, and a marker file beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from beam_job.core.errors import ModelError
from beam_job.models.branches import source_of
from beam_job.models.graphs import called_functions
from beam_job.models.loaders.base import LoadedModel, LoadRequest, by_name
from beam_job.models.loaders.entry_points import EntryPoint, declared_input, fed_inputs, is_rate, loaded_model, settings
from beam_job.models.loaders.saved_model import explained, with_text_operations
from beam_job.models.resources import import_with_tables, new_table
from beam_job.runtime.tensorflow import import_tensorflow

_PREFIX = "module_"
_TABLES = ("HashTableV2", "MutableHashTableV2")


def load_tf1_module(request: LoadRequest) -> LoadedModel:
    """A TF1 module, frozen in a TensorFlow 1 session, which knows the kinds of variables that such modules have."""
    tf = import_tensorflow()
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        loaded = with_text_operations(lambda: v1.saved_model.load(session, [], request.path), request)
        signatures = dict(loaded.signature_def)
        try:
            tensors = [info.name for signature in signatures.values() for info in signature.outputs.values()]
            nodes = [source_of(tensor) for tensor in tensors]
            frozen = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), nodes)
            contents = _contents_of_tables(session, frozen)
        except Exception as error:  # TensorFlow raises whatever damaged files lead to
            raise ModelError(explained(error, request)) from None
        parameters = sum(int(np.prod(variable.shape)) for variable in v1.global_variables())
    _rename_functions(frozen)
    owner = tf.Module()
    owner.tables = {name: new_table(*content) for name, content in contents.items()}
    # As a function of its own, so that nothing orders its nodes, which may be in loops.
    owner.whole = v1.wrap_function(lambda: import_with_tables(frozen, owner.tables), [])
    points = [_entry_point(name, signature, owner.whole, request) for name, signature in signatures.items()]
    return loaded_model(points, request, owner, parameters)


def _contents_of_tables(session: Any, frozen: Any) -> dict[str, tuple[Any, Any, Any, Any]]:
    """The keys and the values in the tables of a session's graph, and their types, by the names of their nodes."""
    tf = import_tensorflow()
    found = {}
    for node in frozen.node:
        if node.op in _TABLES:
            key_type, value_type = (tf.as_dtype(node.attr[name].type) for name in ("key_dtype", "value_dtype"))
            table = session.graph.get_tensor_by_name(f"{node.name}:0")
            content = tf.raw_ops.LookupTableExportV2(table_handle=table, Tkeys=key_type, Tvalues=value_type)
            found[node.name] = (*session.run(content), key_type, value_type)
    return found


def _entry_point(name: str, signature: Any, whole: Any, request: LoadRequest) -> EntryPoint:
    """An entry point that is a part of the whole graph."""
    tf = import_tensorflow()
    declared = {
        info.name: declared_input(argument, tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.as_dtype(info.dtype)))
        for argument, info in signature.inputs.items()
    }
    outputs = by_name({output: info.name for output, info in signature.outputs.items()})

    def call(batches: Mapping[str, Any]) -> Mapping[str, Any]:
        nodes = {operation.name for operation in whole.graph.get_operations()}
        fixed = settings(declared.values(), request)
        given = {
            tensor: fixed[argument.name] if argument.name in fixed else batches[argument.name]
            for tensor, argument in declared.items()
            if source_of(tensor) in nodes  # freezing drops a switch that nothing reads
        }
        element = whole.graph.as_graph_element
        part = whole.prune([element(tensor) for tensor in given], [element(tensor) for tensor in outputs.values()])
        return dict(zip(outputs, part(*given.values()), strict=True))

    needs_rate = any(map(is_rate, declared.values()))
    return EntryPoint(name, fed_inputs(declared.values()), tuple(outputs), call, needs_rate=needs_rate)


def _rename_functions(definition: Any) -> None:
    """Gives the functions of a graph names that freezing, which numbers them, does not give again."""
    library = {function.signature.name for function in definition.library.function}
    for function in definition.library.function:
        function.signature.name = f"{_PREFIX}{function.signature.name}"
    for nodes in (definition.node, *(function.node_def for function in definition.library.function)):
        for called in called_functions(nodes):
            if called.name in library:
                called.name = f"{_PREFIX}{called.name}"
