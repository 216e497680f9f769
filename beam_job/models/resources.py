"""Resources that a graph uses beside its variables: lookup tables, and the vocabularies of tokenizers.

A variable is a constant in a frozen graph; a resource is a handle, which says nothing outside of its process. Here
the contents of tables become constants beside them, and every session fills its own tables before it is used. What
else there is, such as a SentencePiece model, is made by its own operation, which becomes a node of the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from beam_job.core.errors import ModelError
from beam_job.runtime.tensorflow import import_tensorflow

_FILL = "InitializeTableV2"
_PREFIX = "beam_job_resource_"


def with_resources(definition: Any, handles: Mapping[str, Any], owners: Sequence[Any]) -> Any:
    """A graph whose placeholders for resources are the resources themselves.

    Args:
      definition: The GraphDef; it is changed.
      handles: The name of such a placeholder to the handle that it stands for.
      owners: What holds them, where they were loaded from.

    Raises:
      ModelError: there is a resource of which no copy can be made.
    """
    tf = import_tensorflow()
    known = list(_resources(owners)) if handles else []
    nodes = {node.name: node for node in definition.node}
    for number, (placeholder, handle) in enumerate(handles.items()):
        resource = next((resource for resource in known if resource.resource_handle is handle), None)
        if resource is None:
            raise ModelError("Expected a model whose state is variables and tables, found one that holds another kind.")
        made, tensor = _copy(resource, f"{_PREFIX}{number}")
        definition.node.extend(made.node)
        node = nodes[placeholder]
        node.Clear()
        node.name, node.op = placeholder, "Identity"
        node.input.append(tensor)
        node.attr["T"].type = tf.resource.as_datatype_enum
    return definition


def _resources(owners: Sequence[Any]) -> Iterator[Any]:
    """Everything among what ``owners`` hold that makes a resource."""
    tf = import_tensorflow()
    for owner in owners:
        for held in tf.train.TrackableView(owner).descendants():
            if hasattr(held, "_create_resource") and hasattr(held, "resource_handle"):
                yield held


def _copy(resource: Any, name: str) -> tuple[Any, str]:
    """The nodes of a copy of a resource, whose names begin with ``name``, and the name of the one that gives it."""
    tf = import_tensorflow()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    # A function of its own: what was loaded from a file is a call of one, which this takes apart.
    making = tf.function(lambda: resource._create_resource(), autograph=False).get_concrete_function()
    frozen = convert_variables_to_constants_v2(making)
    table = next((operation for operation in frozen.graph.get_operations() if "HashTable" in operation.type), None)
    if table is not None:
        types = [tf.as_dtype(table.get_attr(key)) for key in ("key_dtype", "value_dtype")]
        return _filled_table(resource.resource_handle, types[0], types[1], name), name
    with tf.Graph().as_default() as copied:
        outputs = [frozen.outputs[0].name]
        (tensor,) = tf.import_graph_def(frozen.graph.as_graph_def(), return_elements=outputs, name=name)
    return copied.as_graph_def(), tensor.op.name


def _filled_table(handle: Any, key_type: Any, value_type: Any, name: str) -> Any:
    """The nodes of a table with the contents of another one, and of what fills it."""
    tf = import_tensorflow()
    contents = tf.raw_ops.LookupTableExportV2(table_handle=handle, Tkeys=key_type, Tvalues=value_type)
    keys, values = (tensor.numpy() for tensor in contents)
    with tf.Graph().as_default() as graph:
        table = tf.raw_ops.HashTableV2(key_dtype=key_type, value_dtype=value_type, shared_name=name, name=name)
        constants = {
            "keys": tf.constant(keys, key_type, name=f"{name}_keys"),
            "values": tf.constant(values, value_type, name=f"{name}_values"),
        }
        tf.raw_ops.InitializeTableV2(table_handle=table, **constants, name=f"{name}_filling")
    return graph.as_graph_def()


def filling(definition: Any) -> list[Any]:
    """The nodes that fill the tables of a graph, each of which has its table as its first input."""
    return [node for node in definition.node if node.op == _FILL]


def tables(definition: Any) -> dict[str, Any]:
    """The tables of a graph as objects, which a SavedModel keeps; by the names of their nodes."""
    tf = import_tensorflow()
    nodes = {node.name: node for node in definition.node}
    found = {}
    for node in filling(definition):
        table, *contents = node.input
        keys, values = (tf.make_ndarray(nodes[name].attr["value"].tensor) for name in contents)
        types = [tf.as_dtype(nodes[table].attr[name].type) for name in ("key_dtype", "value_dtype")]
        found[table] = new_table(keys, values, types[0], types[1])
    return found


def new_table(keys: Any, values: Any, key_type: Any, value_type: Any) -> Any:
    """A table that holds what is given, as arrays."""
    tf = import_tensorflow()
    # What is answered for an unknown key stands in each lookup; the table itself must be given something.
    default = "" if value_type == tf.string else 0
    pairs = tf.lookup.KeyValueTensorInitializer(tf.constant(keys, key_type), tf.constant(values, value_type))
    return tf.lookup.StaticHashTable(pairs, default)


def import_with_tables(definition: Any, known: Mapping[str, Any]) -> None:
    """Imports a graph into the function that is being traced.

    Args:
      definition: The GraphDef.
      known: The names of nodes to the tables that stand for them.
    """
    tf = import_tensorflow()
    # A handle from outside of a function is no tensor of it, but a copy of the handle is.
    handles = {f"{name}:0": tf.identity(table.resource_handle) for name, table in known.items()}
    tf.import_graph_def(definition, handles, name="")


def fill_tables(session: Any) -> None:
    """Fills the tables of a session's graph; needed once, before anything else is run."""
    session.run([operation for operation in session.graph.get_operations() if operation.type == _FILL])
