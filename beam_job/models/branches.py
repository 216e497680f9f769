"""Takes branches whose predicate is a constant out of a graph, such as those for training.

In TensorFlow 2 a branch is a node that calls one of two functions. In TensorFlow 1 its nodes stand among the others,
between ``Switch`` nodes, which pass a tensor on to one side, and ``Merge`` nodes, which take what arrives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from beam_job.runtime.tensorflow import import_tensorflow

# Branches and loops of TensorFlow 1.
SWITCH_OPERATIONS = frozenset(("Switch", "Merge", "Enter"))
# Branches of TensorFlow 2 to the calls that stand for them.
_CALLS = {"If": "StatefulPartitionedCall", "StatelessIf": "PartitionedCall"}


def source_of(tensor: str) -> str:
    """The name of the node that gives an input of another node."""
    return tensor.removeprefix("^").partition(":")[0]


def without_untaken_branches(definition: Any, fetches: Sequence[str]) -> Any:
    """A graph without branches that are never taken.

    Args:
      definition: The GraphDef; it is changed.
      fetches: Names of the tensors that must stay, the input among them.
    """
    for body in _bodies(definition):
        for node in body.nodes:
            if node.op == "PlaceholderWithDefault":  # nothing but the input is ever given
                _pass_on(node, node.input[:1])
    decided = True
    while decided and any(
        node.op in _CALLS or node.op == "Switch" for body in _bodies(definition) for node in body.nodes
    ):
        definition = _folded(definition, fetches)
        taken = [body.decide() for body in _bodies(definition)]
        decided = any(taken)
    return definition


def _bodies(definition: Any) -> Iterator[_Body]:
    """A graph, and each function in its library."""
    yield _Body(definition.node)
    for function in definition.library.function:
        yield _Body(function.node_def, function.ret)


@dataclasses.dataclass(frozen=True)
class _Body:
    """A graph or a function.

    Attributes:
      nodes: Its nodes.
      returned: For a function, its results to the tensors that give them; None for a graph.
    """

    nodes: Any
    returned: Any = None

    def decide(self) -> bool:
        """Takes every branch whose predicate is a constant; tells whether there was any."""
        constants = {node.name: node for node in self.nodes if node.op == "Const"}
        calls = [node for node in self.nodes if node.op in _CALLS and source_of(node.input[0]) in constants]
        for node in calls:
            _call_taken(node, _truth(constants[source_of(node.input[0])]))
        switches = {
            node.name: _truth(constants[source_of(node.input[1])])
            for node in self.nodes
            if node.op == "Switch" and source_of(node.input[1]) in constants
        }
        if switches:
            self._take(switches)
        return bool(calls or switches)

    def _sides(self, name: str) -> tuple[str, str, str]:
        """What a graph or a function calls the sides of a Switch for False and for True, and the result of a copy."""
        if self.returned is None:
            return name, f"{name}:1", name
        return f"{name}:output_false:0", f"{name}:output_true:0", f"{name}:output:0"

    def _take(self, switches: Mapping[str, bool]) -> None:
        """Makes each Switch pass its tensor on, and drops what is behind its other side.

        Args:
          switches: Names of Switch nodes to their predicate.
        """
        dead = {self._sides(name)[not taken] for name, taken in switches.items()}
        renamed = {self._sides(name)[taken]: self._sides(name)[2] for name, taken in switches.items()}
        gone = self._unreached(dead)
        kept = [node for node in self.nodes if node.name not in gone]
        for node in kept:
            if node.name in switches:
                _pass_on(node, [node.input[0]])
            elif node.op == "Merge":
                arriving = [tensor for tensor in _data(node) if not _is_dead(tensor, dead, gone)]
                if len(arriving) == 1:
                    _pass_on(node, arriving)
            node.input[:] = [renamed.get(tensor, tensor) for tensor in node.input]
        for result, tensor in dict(self.returned or {}).items():
            self.returned[result] = renamed.get(tensor, tensor)
        del self.nodes[:]
        self.nodes.extend(kept)

    def _unreached(self, dead: set[str]) -> set[str]:
        """The names of the nodes that tensors which never arrive keep from running."""
        rounds = {node.name for node in self.nodes if node.op == "NextIteration"}
        gone: set[str] = set()
        found = True
        while found:
            found = False
            for node in self.nodes:
                merges = node.op == "Merge"
                # A loop that is never entered has no next round either.
                tensors = [name for name in _data(node) if source_of(name) not in rounds] if merges else node.input
                inputs = [_is_dead(tensor, dead, gone) for tensor in tensors]
                never = inputs and (all(inputs) if merges else any(inputs))
                if never and node.name not in gone:
                    gone.add(node.name)
                    found = True
        return gone


def _folded(definition: Any, fetches: Sequence[str]) -> Any:
    """The graph with calls inlined and constants folded."""
    import_tensorflow()
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
    from tensorflow.python.grappler import tf_optimizer

    graph = meta_graph_pb2.MetaGraphDef(graph_def=definition)
    graph.collection_def["train_op"].node_list.value.extend(fetches)
    settings = config_pb2.ConfigProto()
    rewriter = settings.graph_options.rewrite_options
    rewriter.min_graph_nodes = -1  # small graphs too
    rewriter.optimizers.extend(["function", "constfold"])
    return tf_optimizer.OptimizeGraph(settings, graph)


def _truth(predicate: Any) -> bool:
    """Which branch a constant takes: a number by its value, an array by whether it holds anything."""
    value = import_tensorflow().make_ndarray(predicate.attr["value"].tensor)
    return bool(value) if value.ndim == 0 else value.size > 0


def _call_taken(node: Any, taken: bool) -> None:
    """Turns a branch of TensorFlow 2 into a call of the function that is taken."""
    node.attr["f"].CopyFrom(node.attr["then_branch" if taken else "else_branch"])
    node.op = _CALLS[node.op]
    del node.input[0]
    _keep_attributes(node, "f", "Tin", "Tout")


def _data(node: Any) -> list[str]:
    """The inputs of a node that are tensors, not those that only order it."""
    return [tensor for tensor in node.input if not tensor.startswith("^")]


def _is_dead(tensor: str, dead: set[str], gone: set[str]) -> bool:
    return tensor in dead or source_of(tensor) in gone


def _pass_on(node: Any, inputs: Sequence[str]) -> None:
    """Turns a node into one that passes its input on."""
    kind = node.attr["T"] if "T" in node.attr else node.attr["dtype"]
    node.op = "Identity"
    node.input[:] = inputs
    node.attr["T"].CopyFrom(kind)
    _keep_attributes(node, "T")


def _keep_attributes(node: Any, *names: str) -> None:
    for name in [name for name in node.attr if name not in names]:
        del node.attr[name]
