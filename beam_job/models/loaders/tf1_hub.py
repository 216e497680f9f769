"""Loads modules in the TF1 Hub format: a graph without tags for inference, and a marker file beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from beam_job.core.errors import ModelError
from beam_job.core.values import DEFAULT_LAYER, ImageSize
from beam_job.modalities.base import Shape
from beam_job.models.loaders.base import LoadedModel, first_line
from beam_job.models.loaders.saved_model import main_signature, only_input
from beam_job.runtime.tensorflow import import_tensorflow


def load_tf1_module(path: str, weights: str | None, size: ImageSize | None) -> LoadedModel:
    """A TF1 module, frozen in a TensorFlow 1 session, which knows the kinds of variables that such modules have."""
    tf = import_tensorflow()
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        try:
            meta_graph = v1.saved_model.load(session, [], path)
        except (OSError, ValueError, KeyError, RuntimeError, tf.errors.OpError) as error:
            raise ModelError(f"The TF1 module at {path} cannot be loaded: {first_line(error)}") from None
        signatures = dict(meta_graph.signature_def)
        name = main_signature(signatures)
        inputs = signatures[name].inputs
        types = {
            argument: (tf.as_dtype(info.dtype), tf.TensorShape(info.tensor_shape)) for argument, info in inputs.items()
        }
        declared = only_input(name, types)
        source = inputs[declared.name].name
        tensors = {
            output: info.name
            for signature in (*signatures.values(), signatures[name])  # the preferred signature overwrites the others
            for output, info in signature.outputs.items()
        }
        own = signatures[name].outputs
        if len(own) == 1:
            tensors[DEFAULT_LAYER] = next(iter(own.values())).name
        shapes: dict[str, Shape | None] = {
            output: _shape(graph.get_tensor_by_name(tensor)) for output, tensor in tensors.items()
        }
        nodes = [tensor.partition(":")[0] for tensor in tensors.values()]
        frozen = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), nodes)
        parameters = sum(int(np.prod(variable.shape)) for variable in v1.global_variables())

    def call(batch: Any, names: Sequence[str]) -> Mapping[str, Any]:
        wanted = [tensors[output] for output in names]
        answers = tf.import_graph_def(frozen, {source: batch}, return_elements=wanted, name="")
        return dict(zip(names, answers, strict=True))

    return LoadedModel(declared, shapes, call, parameters, frozen)


def _shape(tensor: Any) -> Shape | None:
    return tuple(tensor.shape.as_list()[1:]) if tensor.shape.rank else None
