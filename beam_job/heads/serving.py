"""One SavedModel from the bytes of examples to class probabilities: decoding, model and head in one graph."""

from __future__ import annotations

from typing import Any

from beam_job.core.errors import ModelError
from beam_job.core.options import ExtractOptions
from beam_job.dataset.reading import Dataset
from beam_job.models.frozen import FrozenModel
from beam_job.models.spec import describe_model, frozen_model
from beam_job.runtime.tensorflow import import_tensorflow

# TensorFlow Serving takes base64 in JSON for inputs whose names end like this.
_BYTES_SUFFIX = "_bytes"


def save_classifier(path: str, dataset: Dataset, head: Any, classes: list[str], feature: str | None = None) -> str:
    """Writes the SavedModel: bytes of examples, string [B], to ``probabilities``, float32 [B, C], and ``classes``.

    Args:
      path: A directory that does not exist yet.
      dataset: The dataset that the head was trained on.
      head: A Keras model from float32 [B, D] to float32 [B, C].
      classes: The classes' names.
      feature: Which of several stored features the head takes.

    Returns:
      The name of the input, such as ``image_bytes``.

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
    module.head, module.backbone = head, _backbone(tf, frozen_model(spec), dataset.feature_field(feature))
    names = tf.constant(classes)

    def serve(contents: Any) -> Any:
        features = module.backbone(spec.modality.serve(contents))
        if isinstance(features, (list, tuple)):
            (features,) = features
        flat = tf.reshape(features, [tf.shape(features)[0], head.input_shape[1]])
        probabilities = head(flat, training=False)
        return {"probabilities": probabilities, "classes": tf.tile(names[tf.newaxis], [tf.shape(probabilities)[0], 1])}

    input_name = f"{spec.modality.name}{_BYTES_SUFFIX}"
    module.serve = tf.function(serve, input_signature=[tf.TensorSpec([None], tf.string, name=input_name)])
    tf.saved_model.save(module, path, signatures={"serving_default": module.serve})
    return input_name


def _backbone(tf: Any, model: FrozenModel, output: str) -> Any:
    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(model.graph.read_bytes())
    wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(definition, name=""), [])
    element = wrapped.graph.as_graph_element
    return wrapped.prune(element(model.input), element(model.outputs[output]))
