"""Loads Keras models: files, whose code runs only where it is trusted, and Keras Applications by name."""

from __future__ import annotations

import contextlib
import importlib.util
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from beam_job.core.errors import ModelError, reason_of
from beam_job.modalities.base import ModelInput
from beam_job.models.loaders.base import LayerInfo, LoadedModel, LoadRequest, by_name
from beam_job.models.loaders.keras_files import KerasFile, imported_classes, read_keras_file
from beam_job.runtime.tensorflow import import_keras, import_tensorflow

IMAGENET, RANDOM = "imagenet", "none"
_SEED = 0
_KERAS_2 = "tf_keras"


def load_keras_file(request: LoadRequest) -> LoadedModel:
    """The model in a Keras file, by Keras 3; what Keras 2 wrote, by tf_keras if that is installed."""
    file = read_keras_file(request.path, request.handle)
    if not request.trusted:
        _check_code(file, request.handle)
    classes = imported_classes(file.foreign_classes(), request.handle) if request.trusted else {}
    by_keras_2 = file.is_keras_2 and importlib.util.find_spec(_KERAS_2) is not None
    try:
        if by_keras_2:
            return _read_by_keras_2(file, classes, request.trusted)
        if changed := file.changed_meaning():
            raise ValueError(f"{changed} means something else there")
        return _read_by_keras_3(file, classes, request.trusted)
    except ModelError:
        raise
    except Exception as error:  # Keras raises whatever its layers raise
        if by_keras_2 or not file.is_keras_2:
            raise ModelError(f"The Keras file {request.handle} cannot be loaded: {_cause(error)}") from None
        raise ModelError(
            f"The Keras file {request.handle} was made with Keras {file.version or 2}, and Keras 3 cannot read it "
            f'({_cause(error)}). Install Keras 2 beside it with: pip install "beam_job[keras2]". Or export a '
            f"SavedModel where it was made: tf_keras.models.load_model(FILE).export(DIR)."
        ) from None


def load_application(request: LoadRequest) -> LoadedModel:
    """The architecture called ``request.path``, built for images of its size, with its weights."""
    keras = import_keras()
    name, weights, size = request.path, request.weights, request.image_size
    assert size is not None, "every application has a default size"
    keras.utils.set_random_seed(_SEED)
    build: Any = getattr(keras.applications, name)
    try:
        model = build(
            include_top=False, weights=None if weights == RANDOM else weights, input_shape=(size.height, size.width, 3)
        )
    except Exception as error:  # Keras raises whatever its layers, h5py and urllib raise
        words = reason_of(error)
        if weights == IMAGENET:
            raise ModelError(
                f"The ImageNet weights of {name} are not available ({words}). Download them (the file that ends in "
                f"notop.h5, see keras.io/api/applications) and give the file as --weights, or --weights=none for "
                f"random ones."
            ) from None
        raise ModelError(f"{name} cannot be built at {size} pixels with --weights={weights}: {words}") from None
    return _loaded(model, keras.layers.Layer)


def _check_code(file: KerasFile, handle: str) -> None:
    """Refuses a file that cannot be loaded without running code of its own."""
    advice = (
        "Export a SavedModel where it was made (model.export(DIR)); or, if you trust the file, give "
        "--trust_model_code, which runs that code"
    )
    if code := file.code():
        raise ModelError(f"The Keras file {handle} holds Python code, in {', '.join(code)}. {advice}.")
    if classes := file.foreign_classes():
        raise ModelError(
            f"The Keras file {handle} needs {', '.join(classes)}, which Keras does not have. {advice} "
            f"where its package is installed."
        )


def _read_by_keras_2(file: KerasFile, classes: Mapping[str, Any], trusted: bool) -> LoadedModel:
    import_tensorflow()
    import tf_keras

    model = tf_keras.models.load_model(file.path, classes, compile=False, safe_mode=not trusted)
    return _loaded(model, tf_keras.layers.Layer, (f"made with Keras {file.version or 2}, and read by tf_keras",))


def _read_by_keras_3(file: KerasFile, classes: Mapping[str, Any], trusted: bool) -> LoadedModel:
    """The model, by Keras 3; of a file of Keras 2, without arguments that say nothing and that Keras 3 refuses."""
    keras = import_keras()
    load: Callable[..., Any] = keras.saving.load_model
    with contextlib.ExitStack() as stack:
        path = file.path
        if file.hdf5 and file.is_keras_2:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory()), path.with_suffix(".h5").name)
            file.write_modernised(path)
        model = load(path, classes, compile=False, safe_mode=not trusted)
    return _loaded(model, keras.layers.Layer)


def _cause(error: Exception) -> str:
    """What went wrong, from Keras' words: the sentence at the end of its chain, without the configuration."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line.removeprefix("Exception encountered: ") for line in lines if line.startswith("Exception encountered")]
    words = (told or lines or [type(error).__name__])[-1 if told else 0]
    for dump in ("Full object config", "using config="):
        words = words.partition(dump)[0]
    return words.strip().rstrip(".")


def _loaded(model: Any, layer_type: type[Any], notes: Sequence[str] = ()) -> LoadedModel:
    """A Keras model with each of its layers by name.

    Args:
      model: The model.
      layer_type: Keras' class of layers, of the Keras that the model is of.
      notes: See :class:`LoadedModel`.

    Raises:
      ModelError: it does not have exactly one input.
    """
    tf = import_tensorflow()
    declared = _declared_input(model)
    names = _output_names(model, declared)  # those of by_name to those of the model
    paths = {id(layer): path for path, layer in _layers(model)}

    def call(batches: Mapping[str, Any], wanted: Sequence[str]) -> Mapping[str, Any]:
        (batch,) = batches.values()
        with _calls_of(layer_type) as calls, _constant_seeds():
            answer = by_name(model(batch, training=False))
        graph = tf.compat.v1.get_default_graph()
        found = {names[name]: value for name, value in answer.items()}
        for layer, answers in calls.items():
            # A layer that is called several times has no one output, and what is within a loop is of no one example.
            if layer in paths and len(answers) == 1 and getattr(answers[0], "graph", None) is graph:
                found.setdefault(paths[layer], answers[0])
        return {name: found[name] for name in wanted if name in found}

    infos = tuple(LayerInfo(path, type(layer).__name__, layer.count_params()) for path, layer in _layers(model))
    return LoadedModel(
        {declared.name: (declared,)}, tuple(names.values()), call, model, infos, model.count_params(), tuple(notes)
    )


def _declared_input(model: Any) -> ModelInput:
    """The one input of a model: as it declares it, or as a model of a class of its own was built."""
    inputs = getattr(model, "inputs", None)
    if inputs:
        if len(inputs) != 1:
            raise ModelError(f"Expected a model with one input, found {', '.join(tensor.name for tensor in inputs)}.")
        (tensor,) = inputs
        dtype = getattr(tensor.dtype, "name", tensor.dtype)
        return ModelInput(tensor.name, str(dtype), tuple(tensor.shape))
    config: Mapping[str, Any] = (model.get_build_config() if hasattr(model, "get_build_config") else None) or {}
    built = config.get("input_shape")
    if not built or not all(length is None or isinstance(length, int) for length in built):
        raise ModelError("Expected a Keras model that knows its input, found one that was never built.")
    return ModelInput("inputs", "float32", (None, *built[1:]))


def _output_names(model: Any, declared: ModelInput) -> dict[str, str]:
    """The names that ``by_name`` gives a model's outputs, to its own names for them."""
    try:
        structure = model.output
    except AttributeError:  # a Sequential, or a model of a class of its own
        structure = getattr(model, "outputs", None)
        if not structure:
            keras = import_keras()
            assert declared.shape is not None
            structure = model.compute_output_spec(keras.KerasTensor(declared.shape, declared.dtype))
    names = list(by_name(structure))
    own = list(getattr(model, "output_names", ()))
    listed = isinstance(structure, (list, tuple)) and len(structure) > 1 and len(names) == len(set(own)) == len(own)
    return dict(zip(names, own if listed else names, strict=True))


def _layers(model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every layer that computes something with its path, each before the layers in it."""
    for layer in model.layers:
        if type(layer).__name__ == "InputLayer":
            continue
        yield f"{prefix}{layer.name}", layer
        if getattr(layer, "layers", None):
            yield from _layers(layer, f"{prefix}{layer.name}/")


@contextlib.contextmanager
def _constant_seeds() -> Iterator[None]:
    """Random layers of Keras 3 advance no seed in this block.

    Recurrent layers with dropout draw masks that they do not use in inference mode; the seed is a variable, and a model
    that writes to one cannot be frozen. Random numbers that are used stay random operations, which are refused.
    """
    tf = import_tensorflow()
    generator = import_keras().random.SeedGenerator
    original = generator.next
    generator.next = lambda self, ordered=True: tf.zeros([2], tf.uint32)
    try:
        yield
    finally:
        generator.next = original


@contextlib.contextmanager
def _calls_of(layer_type: type[Any]) -> Iterator[Mapping[int, list[Any]]]:
    """Records what each layer answers in this block.

    A layer is asked for nothing else than what it answered in the model's own call: its own ``output`` would be that of
    the model that it was built in, which for the layers of a backbone is not this one.

    Yields:
      The id of a layer to its answers.
    """
    calls: dict[int, list[Any]] = {}
    original = layer_type.__call__

    def recorded(layer: Any, *arguments: Any, **keywords: Any) -> Any:
        answer = original(layer, *arguments, **keywords)
        calls.setdefault(id(layer), []).append(answer)
        return answer

    layer_type.__call__ = recorded
    try:
        yield calls
    finally:
        layer_type.__call__ = original
