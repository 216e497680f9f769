"""What must hold for the rows of a graph's outputs to be features: checked on the graph, and by running it.

no randomness, no training mode, no tables or texts   by the operations of the graph
one row for each example                              by running it on batches of two sizes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from beam_job.core.errors import ModelError, reason_of
from beam_job.models.graphs import operations
from beam_job.runtime.tensorflow import import_tensorflow

# Keras, for one, exports a model that begins with RandomFlip with all of its layers in training mode.
_TRAINING = (
    "Expected a model in inference mode, but {what}: it was exported in training mode, and its features would depend "
    "on random numbers or on the rest of the batch. Export it without its augmentation layers, or give its .keras "
    "file, which is called with training=False."
)
_TABLES = ("HashTable", "LookupTable", "MutableHashTable", "MutableDenseHashTable")
_SIZES = (1, 2)
_SEED = 0


def training_error(what: str) -> ModelError:
    """The error for a model that was exported in training mode; ``what`` says how it shows."""
    return ModelError(_TRAINING.format(what=what))


def check_operations(definition: Any) -> None:
    """Checks that an example's features depend neither on chance nor on the rest of the batch, by the operations.

    Raises:
      ModelError: they do, or the graph needs a table, which a graph of constants does not hold.
    """
    for node in operations(definition):
        if "Random" in node.op or node.op == "Multinomial":
            raise training_error(f"the model draws random numbers ({node.name})")
        if node.op.startswith("FusedBatchNorm") and node.attr["is_training"].b:
            raise training_error(f"the model normalises by the batch ({node.name})")
        if node.op.startswith(_TABLES):
            raise ModelError(
                f"Expected features that are computed from numbers alone, found one that needs a table ({node.name}); "
                f"choose another output with --layer."
            )


def proven_batch(
    definition: Any, input_name: str, outputs: Mapping[str, str], example: Sequence[int | None], declared: int | None
) -> tuple[int | None, dict[str, tuple[int, ...]]]:
    """The size of batch that a graph must be called with, proven by calling it.

    Args:
      definition: The GraphDef.
      input_name: Its input tensor.
      outputs: Name to the name of its tensor.
      example: The shape of one example; a length that is not fixed is tried as 1.
      declared: The size of batch that the model declares, if it fixes one.

    Returns:
      None if each output has one row for each example whatever their number, otherwise the one size for which that
      holds; and the shape of a row for each output.

    Raises:
      ModelError: there is an output that has another number of rows than there are examples, or the model fails.
    """
    tf = import_tensorflow()
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    dtype = graph.get_tensor_by_name(input_name).dtype.as_numpy_dtype
    lengths = [length or 1 for length in example]
    largest = max(*_SIZES, declared or 1)
    values = np.random.default_rng(_SEED).random((largest, *lengths)).astype(dtype)
    with tf.compat.v1.Session(graph=graph) as session:
        run = session.make_callable(list(outputs.values()), feed_list=[input_name])

        def shapes_of(size: int) -> list[tuple[int, ...]]:
            return [answer.shape for answer in run(values[:size])]

        try:
            several = [shapes_of(size) for size in _SIZES]
            if all(shape[:1] == (size,) for size, shapes in zip(_SIZES, several, strict=True) for shape in shapes):
                return None, {name: shape[1:] for name, shape in zip(outputs, several[0], strict=True)}
        except (tf.errors.OpError, ValueError):
            pass  # its shapes may hold a number of examples
        size = declared or 1
        try:
            found = dict(zip(outputs, shapes_of(size), strict=True))
        except (tf.errors.OpError, ValueError) as error:
            raise ModelError(f"The model cannot be run on {size} of {lengths}: {reason_of(error)}") from None
    for name, shape in found.items():
        if shape[:1] != (size,):
            examples = "1 example" if size == 1 else f"{size} examples"
            raise ModelError(
                f"Expected one row of features for each example, found {name} of shape {list(shape)} for {examples}: "
                f"its first dimension is not the batch."
            )
    return size, {name: shape[1:] for name, shape in found.items()}
