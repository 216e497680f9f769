"""Files and exports of Keras 3 and Keras 2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.support.zoo.form import BFLOAT16, FLOAT16, RANGE, RGB, SIDE, Call, Form
from tests.support.zoo.own_classes import Network as OwnNetwork
from tests.support.zoo.own_classes import Scale

_KERAS_2 = "tf_keras"


def settled(model: Any, seed: int = 0) -> Any:
    """The model with weights that look trained, so that training and inference mode differ."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        shape = tuple(weight.shape)
        positive = "variance" in weight.name or "gamma" in weight.name
        spread = max(1, int(np.prod(shape[:-1]))) ** 0.5
        values = random.uniform(0.5, 2, shape) if positive else random.normal(size=shape) / spread
        weight.assign(values)
    return model


def convolutions(layers: Any, prefix: str = "") -> list[Any]:
    """The layers of a small network with a depthwise convolution, whose arguments differ between Keras 2 and 3."""
    return [
        layers.Conv2D(8, 3, strides=2, name=f"{prefix}stem"),
        layers.BatchNormalization(name=f"{prefix}norm"),
        layers.ReLU(name=f"{prefix}relu"),
        layers.DepthwiseConv2D(3, name=f"{prefix}depthwise"),
    ]


def functional(
    inner: Callable[[Any], Sequence[Any]] = convolutions,
    outer: Callable[[Any], Sequence[Any]] = lambda layers: (layers.GlobalAveragePooling2D(name="pooled"),),
    shape: Sequence[int | None] = RGB,
    dtype: str | None = None,
    package: Any = keras,
) -> Any:
    """A functional model of the layers that two functions give."""
    keras.utils.set_random_seed(0)
    images = package.Input(shape, name="images", dtype=dtype)
    x = images
    for layer in (*inner(package.layers), *outer(package.layers)):
        x = layer(x)
    return settled(package.Model(images, x))


def written(build: Callable[[], Any], direct: Callable[[Any], Call] | None = None) -> Any:
    """Writes a Keras 3 model, as a file by its suffix or else as an export."""

    def make(path: Path) -> Call:
        model = build()
        if path.suffix:
            model.save(path)
        else:
            model.export(path, verbose=False)
        return direct(model) if direct else lambda values: model(values, training=False)

    return make


def until(layer: str) -> Callable[[Any], Call]:
    """The direct call of a model up to a layer."""
    return lambda model: keras.Model(model.inputs, model.get_layer(layer).output)


def bytes_given(model: Any) -> Call:
    return lambda values: model(values * 255, training=False)


def augmented() -> Any:
    def layers_of(layers: Any) -> list[Any]:
        return [layers.RandomFlip(), *convolutions(layers), layers.Dropout(0.5)]

    return functional(layers_of)


def scaled(scale: float, offset: float) -> Any:
    return functional(lambda layers: [layers.Rescaling(scale, offset), *convolutions(layers)])


def normalised() -> Any:
    layer = keras.layers.Normalization(mean=[120.0, 118.0, 100.0], variance=[3000.0, 3100.0, 2900.0])
    return functional(lambda layers: [layer, *convolutions(layers)])


def typed(policy: str) -> Any:
    def build() -> Any:
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            return functional(lambda layers: [layers.Conv2D(8, 3), layers.ReLU()])
        finally:
            keras.config.set_dtype_policy(before)

    return build


def recurrent(layer: Any) -> Any:
    return lambda: functional(
        lambda layers: [layers.Conv2D(8, 3, strides=4), layers.Reshape((-1, 64)), layer(6)], no_layers
    )


def dropped_out(units: int) -> Any:
    return keras.layers.GRU(units, dropout=0.3, recurrent_dropout=0.2)


def no_layers(layers: Any) -> tuple[Any, ...]:
    return ()


def outputs(kind: type[Any]) -> Any:
    def build() -> Any:
        base = functional()
        x = base.outputs[0]
        parts = {"embedding": keras.layers.Dense(5, name="e")(x), "logits": keras.layers.Dense(3, name="l")(x)}
        return settled(keras.Model(base.inputs, parts if kind is dict else list(parts.values())))

    return build


def output_of(key: Any) -> Callable[[Any], Call]:
    return lambda model: lambda values: model(values, training=False)[key]


def nested(depth: int = 1) -> Any:
    """A backbone within a model, and within another one for each further step of depth."""
    inner = functional(lambda layers: convolutions(layers, "inner_"), no_layers)
    model = inner
    for level in range(depth):
        images = keras.Input(RGB)
        named = keras.Model(model.inputs[0], model.outputs[0], name=f"backbone_{level}")
        x = named(keras.layers.Rescaling(2.0, -1.0, name="rescaling")(images) if level == 0 else images, training=False)
        model = keras.Model(images, x if level < depth - 1 else keras.layers.GlobalMaxPooling2D(name="pooled")(x))
    return settled(model)


def inside(layer: str, depth: int = 1) -> Callable[[Any], Call]:
    """The direct call of a nested model up to a layer of its innermost backbone, averaged over positions."""

    def direct(model: Any) -> Call:
        backbone = model
        for level in reversed(range(depth)):
            backbone = backbone.get_layer(f"backbone_{level}")
        part = keras.Model(backbone.inputs, backbone.get_layer(layer).output)
        return lambda values: tf.reduce_mean(part(values * 2 - 1, training=False), (1, 2))

    return direct


def sequential() -> Any:
    layers = keras.layers
    inner = keras.Sequential([keras.Input((30, 30, 4)), layers.ReLU(name="relu")], name="inner")
    return settled(
        keras.Sequential(
            [keras.Input(RGB), layers.Conv2D(4, 3, name="conv"), inner, layers.GlobalMaxPooling2D(name="pooled")]
        )
    )


def averaged(*names: str) -> Callable[[Any], Call]:
    """The direct call of a Sequential through the named layers, averaged over positions."""

    def direct(model: Any) -> Call:
        def call(values: Any) -> Any:
            for name in names:
                values = model.get_layer(name)(values)
            return tf.reduce_mean(values, (1, 2))

        return call

    return direct


def never_built(path: Path) -> None:
    keras.Sequential([keras.layers.Conv2D(4, 3)]).save(path)


def with_lambda() -> Any:
    return functional(lambda layers: [layers.Lambda(lambda x: x * 2 - 1, name="scale"), layers.Conv2D(4, 3)])


def with_own_layer() -> Any:
    return functional(lambda layers: [Scale(name="own"), layers.Conv2D(4, 3)])


def own_network() -> Any:
    model = OwnNetwork()
    model(np.zeros((1, *RGB), np.float32))
    return settled(model)


def of_own_network(model: Any) -> Call:
    return lambda values: tf.reduce_mean(tf.nn.relu(model.convolution(values)), (1, 2))


def two_inputs(path: Path) -> None:
    left, right = keras.Input(RGB, name="left"), keras.Input(RGB, name="right")
    keras.Model([left, right], keras.layers.Add()([left, right])).save(path)


TRUSTED = {**RANGE, "trust_model_code": "true"}
BYTES = {"input_range": "0,255"}

KERAS_3 = (
    Form("a functional model, .keras", "functional.keras", written(functional)),
    Form("a functional model, .h5", "functional.h5", written(functional)),
    Form("a functional model, `model.export()`", "functional", written(functional)),
    Form("random layers and dropout, .keras", "augmented.keras", written(augmented)),
    Form("random layers, `model.export()`", "augmented", written(augmented), says="exported in training mode"),
    Form(
        "Rescaling at its start, without a range",
        "rescaling.keras",
        written(lambda: scaled(1 / 255, 0), bytes_given),
        {},
    ),
    Form("the same, exported", "rescaling", written(lambda: scaled(1 / 127.5, -1), bytes_given), {}),
    Form("Rescaling from 0 to 1 at its start", "rescaling_unit.keras", written(lambda: scaled(2, -1)), {}),
    Form("Normalization at its start, without a range", "normalization.keras", written(normalised, bytes_given), {}),
    Form("a range that nothing tells", "untold.keras", written(functional), {}, says="does not declare the range"),
    Form("a policy of mixed_float16", "mixed.keras", written(typed("mixed_float16")), tolerance=FLOAT16),
    Form("a policy of bfloat16", "bfloat16.keras", written(typed("bfloat16")), tolerance=BFLOAT16),
    Form("a policy of float64, exported", "float64_export", written(typed("float64"))),
    Form("LSTM", "lstm.keras", written(recurrent(keras.layers.LSTM))),
    Form("LSTM, exported", "lstm_export", written(recurrent(keras.layers.LSTM))),
    Form("GRU", "gru.keras", written(recurrent(keras.layers.GRU))),
    Form("GRU with dropout", "gru_dropout.keras", written(recurrent(dropped_out))),
    Form(
        "tokens, [B, T, C]",
        "tokens.keras",
        written(lambda: functional(outer=lambda layers: (layers.Reshape((-1, 8)),))),
    ),
    Form(
        "a score, [B]",
        "score.keras",
        written(
            lambda: functional(outer=lambda layers: (layers.GlobalMaxPooling2D(), layers.Dense(1), layers.Reshape(())))
        ),
    ),
    Form(
        "one channel",
        "gray.keras",
        written(lambda: functional(shape=(SIDE, SIDE, 1)), lambda m: lambda v: m(tf.image.rgb_to_grayscale(v))),
    ),
    Form(
        "a dictionary of outputs",
        "dict.keras",
        written(outputs(dict), output_of("embedding")),
        {**RANGE, "layer": "embedding"},
    ),
    Form(
        "a list of outputs, by the names of their layers",
        "list.keras",
        written(outputs(list), output_of(1)),
        {**RANGE, "layer": "l"},
    ),
    Form(
        "several outputs, none of them chosen",
        "outputs.keras",
        written(outputs(dict)),
        says="choose with --layer: embedding, logits",
    ),
    Form(
        "a layer of a functional model", "layer.keras", written(functional, until("relu")), {**RANGE, "layer": "relu"}
    ),
    Form(
        "the backbone of a transfer-learning model",
        "backbone.keras",
        written(nested, inside("inner_depthwise")),
        {**RANGE, "layer": "backbone_0:avg"},
    ),
    Form(
        "a layer within a backbone",
        "inner.keras",
        written(nested, inside("inner_relu")),
        {**RANGE, "layer": "backbone_0/inner_relu:avg"},
    ),
    Form(
        "a layer of a model nested two deep",
        "deep.keras",
        written(lambda: nested(2), inside("inner_stem", 2)),
        {**RANGE, "layer": "backbone_1/backbone_0/inner_stem:avg"},
    ),
    Form(
        "a layer of a Sequential",
        "sequential.keras",
        written(sequential, averaged("conv")),
        {**RANGE, "layer": "conv:avg"},
    ),
    Form(
        "a layer of a Sequential in a Sequential",
        "sequential_inner.keras",
        written(sequential, averaged("conv", "inner")),
        {**RANGE, "layer": "inner/relu:avg"},
    ),
    Form("a Sequential that was never built", "never_built.keras", never_built, says="one that was never built"),
    Form("two inputs", "two_inputs.keras", two_inputs, says="one input, found left, right"),
    Form(
        "a Lambda layer",
        "lambda.keras",
        written(with_lambda),
        says=r"holds Python code, in scale \(Lambda\).* --trust_model_code",
    ),
    Form("a Lambda layer, .h5", "lambda.h5", written(with_lambda), says=r"holds Python code, in scale \(Lambda\)"),
    Form("a Lambda layer, with `--trust_model_code`", "trusted.keras", written(with_lambda), TRUSTED),
    Form("a Lambda layer, exported", "lambda", written(with_lambda)),
    Form(
        "a class of one's own",
        "own.keras",
        written(with_own_layer),
        says="needs beam_job_tests>Scale, which Keras does not have",
    ),
    Form("a class of one's own, with `--trust_model_code`", "own_trusted.keras", written(with_own_layer), TRUSTED),
    Form(
        "a layer of a model of one's own class",
        "own_network.keras",
        written(own_network, of_own_network),
        {**TRUSTED, "layer": "relu:avg"},
    ),
)


# Keras 2


def keras_2() -> Any:
    import tf_keras

    return tf_keras


def written_2(build: Callable[[], Any], given: Call = lambda values: values) -> Any:
    """Writes a Keras 2 model: .h5, .keras, or else a SavedModel."""

    def make(path: Path) -> Call:
        model = build()
        model.save(path, save_format={".h5": "h5", ".keras": "keras"}.get(path.suffix, "tf"))
        return lambda values: model(given(values), training=False)

    return make


def functional_2() -> Any:
    return functional(package=keras_2())


def recurrent_2() -> Any:
    def layers_of(layers: Any) -> list[Any]:
        return [layers.RandomFlip(), layers.Conv2D(8, 3, strides=4), layers.Reshape((-1, 64)), layers.LSTM(6)]

    return functional(layers_of, no_layers, package=keras_2())


def operators_2() -> Any:
    package = keras_2()
    images = package.Input(RGB)
    x = (images / 127.5 - 1.0)[:, ::2, ::2]
    for layer in convolutions(package.layers):
        x = layer(x)
    return settled(package.Model(images, package.layers.GlobalAveragePooling2D()(x)))


def changed_2() -> Any:
    """What Keras 3 computes differently."""
    return functional(lambda layers: [layers.Conv2D(8, 3, activation="hard_sigmoid")], package=keras_2())


def with_lambda_2() -> Any:
    return functional(lambda layers: [layers.Lambda(lambda x: x * 2, name="scale")], package=keras_2())


KERAS_2 = tuple(
    Form(what, name, make, options, says, requires=_KERAS_2)
    for what, name, make, options, says in (
        ("Keras 2, .h5", "keras2.h5", written_2(functional_2), RANGE, ""),
        ("Keras 2, .h5 with an LSTM and random layers", "keras2_lstm.h5", written_2(recurrent_2), RANGE, ""),
        (
            "Keras 2, .h5 with operators (TFOpLambda)",
            "keras2_operators.h5",
            written_2(operators_2, lambda v: v * 255),
            {},
            "",
        ),
        ("Keras 2, .h5 with `hard_sigmoid`", "keras2_changed.h5", written_2(changed_2), RANGE, ""),
        ("Keras 2, .keras", "keras2.keras", written_2(functional_2), RANGE, ""),
        ("Keras 2, SavedModel", "keras2", written_2(functional_2), RANGE, ""),
        ("Keras 2, SavedModel with a Lambda layer", "keras2_lambda", written_2(with_lambda_2), RANGE, ""),
        ("Keras 2, .h5 with a Lambda layer", "keras2_lambda.h5", written_2(with_lambda_2), RANGE, "holds Python code"),
    )
)

FORMS = (*KERAS_3, *KERAS_2)
