"""One SavedModel from the bytes of examples to the answers of a head: decoding, model and head in one graph."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from beam_job.core import naming
from beam_job.core.errors import DecodeError, ExampleError, ModelError
from beam_job.core.options import ExtractOptions
from beam_job.core.records import Float32Array
from beam_job.dataset.originals import originals
from beam_job.dataset.reading import Dataset, FeatureTable
from beam_job.heads.goals import Goal
from beam_job.modalities.base import Modality
from beam_job.models.pooling import joined_tensor
from beam_job.models.resources import import_with_tables, tables
from beam_job.models.spec import describe_model, frozen_model
from beam_job.runtime.tensorflow import import_operations, import_tensorflow

# Examples that a served model is compared on, and refs of the input among which they are looked for.
_COMPARED, _LOOKED_AT = 8, 1000


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """What a served model takes and gives.

    Attributes:
      input: The name of its input, such as ``image_bytes``, or ``text``.
      output: The name of its answers.
      packages: What must be imported before it is loaded, beside TensorFlow.
      modality: What an example is.
    """

    input: str
    output: str
    packages: tuple[str, ...]
    modality: Modality


def save_head(path: str, dataset: Dataset, head: Any, goal: Goal, feature: str | None = None) -> ServedModel:
    """Writes the SavedModel: bytes or texts, string [B], to what the head answers.

    That is ``probabilities``, float32 [B, C], with the names of the classes as ``classes``, string [B, C]; or
    ``target``, float32 [B].

    Args:
      path: A directory that does not exist yet.
      dataset: The dataset that the head was trained on.
      head: A Keras model from float32 [B, D] to float32 [B, C], or [B, 1] for numbers.
      goal: What the head was trained for.
      feature: Which of several stored features the head takes.

    Raises:
      ModelError: the model that made the features is no longer available.
    """
    tf = import_tensorflow()
    recorded = {name: value for name, value in dataset.run["options"].items() if value is not None}
    options = ExtractOptions.of(**recorded, output="-")
    spec = describe_model(options.model, options.decode)
    if spec.digest != dataset.run["model"]["digest"]:
        raise ModelError(f"The model {spec.handle} is no longer the one that the features were made with.")
    module = tf.Module()
    frozen = frozen_model(spec)
    for package in frozen.packages:
        import_operations(package)
    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(frozen.graph.read_bytes())
    module.head, module.tables = head, tables(definition)
    field = dataset.feature_field(feature)
    module.backbone = _backbone(definition, module.tables, frozen.input, frozen.outputs[field])
    batch = frozen.batch or (1 if dataset.run["engine"].get("alone") else None)
    names = tf.constant(goal.names, tf.string)

    def features_of(examples: Any) -> Any:
        features = module.backbone(examples)
        return features[0] if isinstance(features, (list, tuple)) else features

    def features_of_rows(rows: Any) -> Any:
        if batch is None:
            return features_of(rows)
        # The model is called as the job called it, for one row at a time.
        return tf.map_fn(
            lambda row: features_of(tf.repeat(row[tf.newaxis], batch, 0))[0], rows, fn_output_signature=tf.float32
        )

    def feature_of_one(content: Any) -> Any:
        found = features_of_rows(spec.modality.serve(content[tf.newaxis]))
        whole = joined_tensor(found, spec.pools[field]) if spec.is_windowed else found[0]
        # The head was trained on the mean of the frames where their number differs.
        return tf.reshape(tf.reduce_mean(whole, axis=0) if dataset.in_frames(feature) else whole, [width])

    width = head.input_shape[1]
    one_by_one = spec.is_windowed or None in spec.example_shape or dataset.in_frames(feature)

    def serve(contents: Any) -> Any:
        if one_by_one:
            flat = tf.map_fn(feature_of_one, contents, fn_output_signature=tf.TensorSpec([width], tf.float32))
        else:
            features = features_of_rows(spec.modality.serve(contents))
            flat = tf.reshape(features, [tf.shape(features)[0], width])
        answers = head(flat, training=False)
        if not goal.names:
            return {goal.output: answers[:, 0]}
        return {goal.output: answers, "classes": tf.tile(names[tf.newaxis], [tf.shape(answers)[0], 1])}

    input_name = spec.modality.name if spec.modality.in_tables else f"{spec.modality.name}{naming.BYTES_SUFFIX}"
    module.serve = tf.function(serve, input_signature=[tf.TensorSpec([None], tf.string, name=input_name)])
    tf.saved_model.save(module, path, signatures={"serving_default": module.serve})
    return ServedModel(input_name, goal.output, frozen.packages, spec.modality)


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How a served model agrees with the head on stored features.

    Attributes:
      examples: Number of examples that both answered for.
      largest_difference: Of their answers; None without examples.
      refused: Number of examples that the served model cannot decode.
    """

    examples: int
    largest_difference: float | None
    refused: int


def compare_served(
    path: str,
    served: ServedModel,
    dataset: Dataset,
    tables: Iterable[FeatureTable],
    predict: Callable[[Float32Array], Float32Array],
) -> Agreement:
    """Asks a served model about the first examples of the input, and the head about their stored features.

    Args:
      path: The SavedModel.
      served: What it takes and gives.
      dataset: The dataset that the head was trained on.
      tables: Its examples.
      predict: The head: float32 [1, D] to float32 [1, C], or [1, 1] for numbers.
    """
    tf = import_tensorflow()
    serve = tf.saved_model.load(path).signatures["serving_default"]
    differences, refused = [], 0
    for content, features in itertools.islice(_stored(dataset, tables), _COMPARED):
        try:
            known = tf.constant([served.modality.as_served(content)])
            found = serve(**{served.input: known})[served.output].numpy()
        except (tf.errors.OpError, DecodeError):
            refused += 1
            continue
        differences.append(float(np.abs(found.reshape(-1) - predict(features).reshape(-1)).max()))
    return Agreement(len(differences), max(differences, default=None), refused)


def _stored(dataset: Dataset, tables: Iterable[FeatureTable]) -> Iterator[tuple[bytes, Float32Array]]:
    """The bytes, and the stored features [1, D], of examples that can still be read from the input."""
    known = {example_id: (table, row) for table in tables for row, example_id in enumerate(table.ids)}
    for example_id, read in itertools.islice(originals(dataset), _LOOKED_AT):
        if example_id in known:
            table, row = known[example_id]
            with contextlib.suppress(ExampleError):
                yield read(), table.features[row : row + 1]


def _backbone(definition: Any, known: Mapping[str, Any], taken: str, given: str) -> Any:
    """The function from one tensor of a graph to another, with the tables that stand for nodes of it."""
    tf = import_tensorflow()
    wrapped = tf.compat.v1.wrap_function(lambda: import_with_tables(definition, known), [])
    element = wrapped.graph.as_graph_element
    return wrapped.prune(element(taken), element(given))
