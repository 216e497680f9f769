"""What must hold for the rows of a graph's outputs to be features: checked on the graph, and by running it.

no randomness, no training mode, no files             by the operations of the graph
one row for each example                              by running it on batches of two sizes
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from beam_job.core.errors import ModelError, reason_of
from beam_job.core.records import Shape
from beam_job.modalities.base import Batch
from beam_job.models.graphs import operations
from beam_job.models.resources import fill_tables
from beam_job.runtime.tensorflow import TEXT_OPERATIONS, import_tensorflow

# Keras, for one, exports a model that begins with RandomFlip with all of its layers in training mode.
_TRAINING = (
    "Expected a model in inference mode, but {what}: it was exported in training mode, and its features would depend "
    "on random numbers or on the rest of the batch. Export it without its augmentation layers, or give its .keras "
    "file, which is called with training=False."
)
# What reads the bytes of files, or of records, which a model of texts does not.
_READS_FILES = re.compile(r"Decode(AndCrop)?(Jpeg|Png|Gif|Bmp|Image|WebP|Wav|Raw|Proto\w*)|Parse\w*Example\w*|ReadFile")
SIZES = (1, 2)


def training_error(what: str) -> ModelError:
    """The error for a model that was exported in training mode; ``what`` says how it shows."""
    return ModelError(_TRAINING.format(what=what))


def check_operations(definition: Any) -> None:
    """Checks that an example's features depend neither on chance nor on the rest of the batch, by the operations.

    Raises:
      ModelError: they do, or the graph takes strings that are not texts.
    """
    for node in operations(definition):
        if "Random" in node.op or node.op == "Multinomial":
            raise training_error(f"the model draws random numbers ({node.name})")
        if node.op.startswith("FusedBatchNorm") and node.attr["is_training"].b:
            raise training_error(f"the model normalises by the batch ({node.name})")
        if _READS_FILES.fullmatch(node.op):
            raise ModelError(
                f"Expected a model of decoded examples or of texts, found one that takes the bytes of files or records "
                f"({node.op}); choose another signature with --signature, or a tensor behind it with --layer."
            )


def packages_of(definition: Any) -> tuple[str, ...]:
    """The packages beside TensorFlow whose operations a graph has."""
    tf = import_tensorflow()
    functions = {function.signature.name for function in definition.library.function}
    foreign = {node.op for node in operations(definition)} - functions
    # Those of TensorFlow itself all stand in tf.raw_ops.
    return (TEXT_OPERATIONS,) if any(not hasattr(tf.raw_ops, name) for name in foreign) else ()


def proven_batch(
    definition: Any,
    input_name: str,
    outputs: Mapping[str, str],
    trials: Callable[[int], Sequence[Batch]],
    declared: int | None,
) -> tuple[int | None, dict[str, Shape]]:
    """The size of batch that a graph must be called with, proven by calling it.

    Args:
      definition: The GraphDef.
      input_name: Its input tensor.
      outputs: Name to the name of its tensor.
      trials: From a number of examples to batches of so many to run it on.
      declared: The size of batch that the model declares, if it fixes one.

    Returns:
      None if each output has one row for each example whatever their number, otherwise the one size for which that
      holds; and the shape of a row for each output, None for a length that differs between examples.

    Raises:
      ModelError: there is an output that has another number of rows than there are examples, or the model fails.
    """
    tf = import_tensorflow()
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        fill_tables(session)
        run = session.make_callable(list(outputs.values()), feed_list=[input_name])

        def shapes_of(size: int) -> list[list[tuple[int, ...]]]:
            return [[answer.shape for answer in run(batch)] for batch in trials(size)]

        try:
            several = {size: shapes_of(size) for size in SIZES}
            calls = [(size, shapes) for size, found in several.items() for shapes in found]
            if all(shape[:1] == (size,) for size, shapes in calls for shape in shapes):
                return None, _rows(outputs, [shapes for _, shapes in calls])
        except (tf.errors.OpError, ValueError):
            pass  # its shapes may hold a number of examples
        size = declared or 1
        try:
            found = shapes_of(size)
        except (tf.errors.OpError, ValueError) as error:
            raise ModelError(f"The model cannot be run on {_examples(size)}: {reason_of(error)}") from None
    for name, shape in zip(outputs, found[0], strict=True):
        if shape[:1] != (size,):
            raise ModelError(
                f"Expected one row of features for each example, found {name} of shape {list(shape)} for "
                f"{_examples(size)}: its first dimension is not the batch."
            )
    return size, _rows(outputs, found)


def _rows(outputs: Iterable[str], calls: Sequence[Sequence[tuple[int, ...]]]) -> dict[str, Shape]:
    """Name to the shape of a row, from the shapes of the outputs in several calls.

    Raises:
      ModelError: another dimension than the first differs between examples.
    """
    rows: dict[str, Shape] = {}
    for name, *shapes in zip(outputs, *calls, strict=True):
        lengths = [set(found) for found in zip(*(shape[1:] for shape in shapes), strict=True)]
        rows[name] = row = tuple(found.pop() if len(found) == 1 else None for found in lengths)
        if None in row[1:]:
            raise ModelError(
                f"Expected {name} to differ between examples in its first dimension at most, found shapes "
                f"{' and '.join(str(list(shape[1:])) for shape in shapes[:2])}; pool it with avg or max."
            )
    return rows


def _examples(count: int) -> str:
    return "1 example" if count == 1 else f"{count} examples"
