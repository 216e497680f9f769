"""SavedModels of a ``tf.Module``: by what they take, how they are called, what they give, and what flows in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from tests.support.zoo.form import (
    BFLOAT16,
    FLOAT16,
    IMAGES,
    RANGE,
    RGB,
    SIDE,
    Call,
    Form,
    Network,
    dropped,
    save,
)

Function = Callable[[Network, Any], Any]


def spec(*shape: int | None, dtype: str = "float32", name: str = "images") -> tf.TensorSpec:
    return tf.TensorSpec(shape, dtype, name)


def serving(function: Function, taken: tf.TensorSpec = IMAGES, given: Call = lambda values: values) -> Any:
    """Writes a signature of a function of a network and images; the direct call gets what ``given`` makes of values."""

    def make(path: Path) -> Call:
        channels = 1 if taken.shape.rank and 1 in taken.shape.as_list()[1:] else 3
        network = Network(channels)
        save(path, network, serving_default=(lambda images: {"feature": function(network, images)}, [taken]))
        return lambda values: function(network, given(values))

    return make


def called(*traces: tuple[Any, ...], **members: Any) -> Any:
    """Writes a module that can be called; ``members`` is its ``__call__``, traced for each of ``traces``."""

    def make(path: Path) -> Call:
        network = type("Called", (Network,), {"__call__": members["call"]})()
        for arguments in traces:
            network.__call__.get_concrete_function(*arguments)
        tf.saved_model.save(network, str(path))
        return members.get("direct", Network.embed).__get__(network)

    return make


# What they take


def scaled(network: Network, images: Any) -> Any:
    return network.embed(tf.cast(images, tf.float32) / 255.0)


def whole(dtype: str) -> Call:
    return lambda values: tf.cast(tf.round(values * 255), dtype)


def turned(network: Network, images: Any) -> Any:
    return network.embed(tf.transpose(images, [0, 2, 3, 1]))


def gray(values: Any) -> Any:
    return tf.image.rgb_to_grayscale(values)


def first(values: Any) -> Any:
    return tf.transpose(values, [0, 3, 1, 2])


def one_row(network: Network, images: Any) -> Any:
    return tf.reshape(tf.nn.avg_pool2d(images, 8, 8, "VALID"), [1, -1])


def two_inputs(path: Path) -> None:
    network = Network()

    def serve(images: Any, numbers: Any) -> Any:
        return {"feature": network.embed(images) + tf.reduce_sum(numbers)}

    save(path, network, serving_default=(serve, [IMAGES, spec(None, 2, name="numbers")]))


TAKES = (
    Form("input of uint8", "uint8", serving(scaled, spec(None, *RGB, dtype="uint8"), whole("uint8")), {}),
    Form("input of int32", "int32", serving(scaled, spec(None, *RGB, dtype="int32"), whole("int32")), {}),
    Form(
        "input of int8 without a range",
        "int8",
        serving(scaled, spec(None, *RGB, dtype="int8")),
        {},
        says=r"give --input_range=-128,127 or --input_range=0,127",
    ),
    Form(
        "input of int8 with a range that it does not hold",
        "int8_wrong",
        serving(scaled, spec(None, *RGB, dtype="int8")),
        {"input_range": "0,255"},
        says="int8, which holds -128 to 127",
    ),
    Form(
        "input of int8 with `--input_range=0,127`",
        "int8_half",
        serving(
            lambda network, images: network.embed(tf.cast(images, tf.float32) / 127.0),
            spec(None, *RGB, dtype="int8"),
            lambda values: tf.cast(tf.round(values * 127), tf.int8),
        ),
        {"input_range": "0,127"},
    ),
    Form(
        "input of float64",
        "float64",
        serving(
            lambda network, images: network.embed(tf.cast(images, tf.float32)),
            spec(None, *RGB, dtype="float64"),
            lambda values: tf.cast(values, tf.float64),
        ),
    ),
    Form("channels first, [B, 3, H, W]", "channels_first", serving(turned, spec(None, 3, SIDE, SIDE), first)),
    Form("one channel, [B, H, W, 1]", "gray", serving(Network.embed, spec(None, SIDE, SIDE, 1), gray)),
    Form(
        "one channel first, [B, 1, H, W]",
        "gray_first",
        serving(turned, spec(None, 1, SIDE, SIDE), lambda values: first(gray(values))),
    ),
    Form(
        "input of any size, with `--image_size`",
        "any_size",
        serving(Network.embed, spec(None, None, None, 3)),
        {**RANGE, "image_size": str(SIDE)},
    ),
    Form(
        "input of any size, without `--image_size`",
        "any_size_untold",
        serving(Network.embed, spec(None, None, None, 3)),
        says="images of any size; give the size to use it with",
    ),
    Form(
        "input of unknown rank",
        "unknown_rank",
        serving(
            lambda network, images: network.embed(tf.ensure_shape(images, [None, *RGB])),
            tf.TensorSpec(None, tf.float32, "images"),
        ),
        {**RANGE, "image_size": str(SIDE)},
    ),
    Form("fixed batch of 8 in its declaration", "batch_8", serving(Network.embed, spec(8, *RGB))),
    Form("fixed batch of 1 in its arithmetic", "batch_1", serving(one_row, spec(1, *RGB))),
    Form(
        "a scaling from 0 to 255 at its start, without `--input_range`",
        "scales",
        serving(lambda network, images: network.embed(images / 127.5 - 1), given=lambda values: values * 255),
        {},
    ),
    Form(
        "means of BGR subtracted at its start, without a range",
        "bgr",
        serving(lambda network, images: network.embed(images - [104.0, 117.0, 123.0])),
        {},
        says="does not declare the range of its pixels",
    ),
    Form(
        "input of uint16 that it divides by 65535",
        "uint16",
        serving(
            lambda network, images: network.embed(tf.cast(images, tf.float32) / 65535.0),
            spec(None, *RGB, dtype="uint16"),
            lambda values: tf.cast(tf.round(values * 65535), tf.uint16),
        ),
        {},
    ),
    Form(
        "images and numbers",
        "two_inputs",
        two_inputs,
        says="one input; its signature .* has (images, numbers|numbers, images)",
    ),
    Form(
        "one image without a batch",
        "no_batch",
        serving(lambda network, image: network.embed(image[tf.newaxis]), spec(*RGB)),
        says="a single image, without a batch",
    ),
    Form(
        "four channels",
        "rgba",
        serving(lambda network, images: network.embed(images[..., :3]), spec(None, SIDE, SIDE, 4)),
        says="found one of 4 channels",
    ),
    Form(
        "video, [B, T, H, W, 3]",
        "video",
        serving(lambda network, images: network.embed(images[:, 0]), spec(None, None, *RGB)),
        says="found a video model",
    ),
    Form(
        "texts, [B, T] of strings",
        "text",
        serving(lambda network, texts: tf.strings.length(texts), spec(None, 3, dtype="string", name="texts")),
        says="found one of strings that are not one for each example",
    ),
    Form(
        "numbers of tokens, [B, T] of int32",
        "tokens_in",
        serving(lambda network, tokens: tf.reduce_sum(tokens, 1), spec(None, 128, dtype="int32", name="tokens")),
        says="found a text model, of the numbers of tokens",
    ),
)

# How they are called

TRAINING = tf.TensorSpec([], tf.bool, name="training")


@tf.function(input_signature=[IMAGES, TRAINING])
def tensor_switch(self: Network, images: Any, training: Any) -> Any:
    return tf.cond(training, lambda: dropped(self, images), lambda: self.embed(images))


@tf.function
def python_switch(self: Network, images: Any, is_training: bool) -> Any:
    return dropped(self, images) if is_training else self.embed(images)


@tf.function
def trains_by_default(self: Network, images: Any, training: bool = True) -> Any:
    return dropped(self, images) if training else self.embed(images)


@tf.function
def train(self: Network, images: Any, train: bool = False) -> Any:
    return dropped(self, images) if train else self.embed(images)


@tf.function
def normalises(self: Network, images: Any, normalise: bool = False, scale: Any = tf.constant(2.0)) -> Any:  # noqa: B008
    features = self.embed(images) * scale
    return tf.math.l2_normalize(features, -1) if normalise else features


@tf.function(input_signature=[IMAGES])
def nested(self: Network, images: Any) -> Any:
    return {"pyramid": [self.maps(images), self.embed(images)], "mean": tf.reduce_mean(images, [1, 2])}


TWO_SIZES = called(
    (tf.TensorSpec([None, 64, 64, 3]),),
    (tf.TensorSpec([None, *RGB]),),
    call=tf.function(lambda self, images: self.embed(images)),
)


def signature_switch(path: Path) -> Call:
    network = Network()

    def serve(images: Any, training: Any) -> Any:
        def inside(again: Any) -> Any:
            return tf.cond(again, lambda: dropped(network, images), lambda: network.embed(images))

        return {"feature": tf.cond(training, lambda: dropped(network, images), lambda: inside(training))}

    save(path, network, serving_default=(serve, [IMAGES, TRAINING]))
    return network.embed


def several_signatures(*, named: bool, files: bool) -> Any:
    def make(path: Path) -> Call:
        network = Network()

        def classify(images: Any) -> Any:
            return {"scores": tf.nn.softmax(network.embed(images))}

        def from_bytes(image_bytes: Any) -> Any:
            def decoded(data: Any) -> Any:
                return tf.image.resize(tf.io.decode_jpeg(data, channels=3), RGB[:2]) / 255.0

            return {"feature": network.embed(tf.map_fn(decoded, image_bytes, fn_output_signature=tf.float32))}

        bytes_spec = [spec(None, dtype="string", name="image_bytes")]
        preferred = {"serving_default" if named else "bytes": (from_bytes, bytes_spec)} if files else {}
        others = {} if files else {"serving_default" if named else "classify": (classify, [IMAGES])}
        save(path, network, **preferred, **others, embed=(lambda images: {"feature": network.embed(images)}, [IMAGES]))
        return network.embed

    return make


@tf.function
def by_key(self: Network, inputs: Any, training: bool = False) -> Any:
    return self.embed(inputs["pixels"])


CALLED = (
    Form("a call with a dictionary of one entry", "by_key", called(({"pixels": IMAGES}, False), call=by_key)),
    Form(
        "a call with `training` as a tensor",
        "tensor_switch",
        called((IMAGES, TRAINING), call=tensor_switch),
    ),
    Form(
        "a call that needs `is_training`",
        "python_switch",
        called((IMAGES, True), (IMAGES, False), call=python_switch),
    ),
    Form("a call with `train=False`", "train", called((IMAGES, True), (IMAGES,), call=train)),
    Form(
        "a call whose default is training, traced for both",
        "trains_by_default",
        called((IMAGES, True), (IMAGES, False), call=trains_by_default),
    ),
    Form(
        "a call that was traced for training only",
        "trained_only",
        called((IMAGES,), call=trains_by_default),
        says="was traced for training only",
    ),
    Form(
        "a call with other arguments that have defaults",
        "defaults",
        called((IMAGES, True), (IMAGES,), call=normalises, direct=lambda self, images: self.embed(images) * 2),
    ),
    Form("a signature with an input `training`, in nested branches", "signature_switch", signature_switch),
    Form(
        "a call that was traced for two sizes, with `--image_size`",
        "two_sizes",
        TWO_SIZES,
        {**RANGE, "image_size": str(SIDE)},
    ),
    Form(
        "a call that was traced for two sizes, without `--image_size`",
        "two_sizes_untold",
        TWO_SIZES,
        says="was saved for examples of .*32x32x3.*; choose with --image_size",
    ),
    Form(
        "a call with nested outputs",
        "nested_outputs",
        called((IMAGES,), call=nested),
        {**RANGE, "layer": "pyramid/output_1"},
    ),
    Form(
        "an output of another signature",
        "second_signature",
        several_signatures(named=True, files=False),
        {**RANGE, "layer": "feature"},
    ),
    Form(
        "several signatures, none of them preferred",
        "signatures_untold",
        several_signatures(named=False, files=False),
        says="several signatures that take examples; choose with --signature: classify, embed",
    ),
    Form(
        "several signatures, with `--signature`",
        "signatures",
        several_signatures(named=False, files=False),
        {**RANGE, "signature": "embed"},
    ),
    Form(
        "a signature of a file's bytes beside one of pixels",
        "bytes_and_pixels",
        several_signatures(named=True, files=True),
    ),
)


# What they give


def patches(network: Network, images: Any) -> Any:
    return tf.reshape(tf.nn.avg_pool2d(images, 8, 8, "VALID"), [-1, 3])


def less_mean(network: Network, images: Any) -> Any:
    embedded = network.embed(images)
    return embedded - tf.reduce_mean(embedded, 0, keepdims=True)


def ragged(self: Network, images: Any) -> Any:
    lengths = tf.cast(tf.reduce_sum(images, [1, 2, 3]), tf.int32) % 6
    return tf.RaggedTensor.from_tensor(self.embed(images), lengths=lengths)


def looked_up(name: str) -> Any:
    """Writes outputs beside each other that need a table, and that do not; the direct call is that of one of them."""
    return lambda path: _looked_up(path, name)


def _looked_up(path: Path, name: str) -> Call:
    network = Network()
    keys, values = tf.constant([0, 1, 2, 3, 4, 5], tf.int64), tf.constant(list("abcdef"))
    network.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), "?")
    ids = tf.lookup.KeyValueTensorInitializer(keys, keys * 7)
    network.ids = tf.lookup.StaticHashTable(ids, -1)

    def serve(images: Any) -> Any:
        embedded = network.embed(images)
        number = tf.argmax(embedded, -1)
        return {
            "name": network.table.lookup(number),
            "id": network.ids.lookup(number),
            "score": tf.reduce_max(embedded, -1),
        }

    save(path, network, serving_default=(serve, [IMAGES]))
    return lambda values: serve(values)[name]


GIVES = (
    Form("a score, [B]", "score", looked_up("score"), {**RANGE, "layer": "score"}),
    Form(
        "texts",
        "name",
        looked_up("name"),
        {**RANGE, "layer": "name"},
        says="real numbers in 'name', found the type string",
    ),
    Form("numbers from a table", "id", looked_up("id"), {**RANGE, "layer": "id"}),
    Form(
        "complex numbers",
        "complex",
        serving(lambda network, images: tf.complex(network.embed(images), 1.0)),
        says="real numbers in 'default', found complex numbers",
    ),
    Form("a ragged output", "ragged", called((IMAGES,), call=tf.function(ragged)), says="found a ragged tensor"),
    Form(
        "a sparse output",
        "sparse",
        called((IMAGES,), call=tf.function(lambda self, images: tf.sparse.from_dense(self.embed(images)))),
        says="found a sparse tensor",
    ),
    Form("several rows for each image", "patches", serving(patches), says="its first dimension is not the batch"),
    Form(
        "features by images, [D, B]",
        "transposed",
        serving(lambda network, images: tf.transpose(network.embed(images))),
        says="its first dimension is not the batch",
    ),
    Form("features less their mean over the batch", "less_mean", serving(less_mean), says="tell examples apart"),
    Form(
        "NaN for every image",
        "nan",
        serving(lambda network, images: network.embed(images) / 0.0),
        says="NaN or infinity for every example",
    ),
    Form(
        "arithmetic in float16",
        "half",
        serving(lambda network, images: tf.cast(tf.cast(network.embed(images), tf.float16) * 3, tf.float32)),
        tolerance=FLOAT16,
    ),
    Form(
        "arithmetic in bfloat16",
        "bfloat16",
        serving(lambda network, images: tf.cast(tf.cast(network.embed(images), tf.bfloat16) * 3, tf.float32)),
        tolerance=BFLOAT16,
    ),
)


# What flows in them


def mapped(network: Network, images: Any) -> Any:
    def embed_one(image: Any) -> Any:
        bright = tf.reduce_mean(image) > 0.5
        batch = image[tf.newaxis]
        return tf.cond(bright, lambda: network.embed(batch), lambda: network.embed(1 - batch))[0]

    return tf.map_fn(embed_one, images)


def counted(network: Network, images: Any) -> Any:
    """A loop whose body reads variables, and whose equal constants are in different loops."""
    inner = tf.while_loop(lambda i, _: i < 3, lambda i, x: (i + 1, tf.nn.relu(x * 2 - 1)), (0, network.maps(images)))[1]

    def step(i: Any, x: Any) -> Any:
        return i + 1, x + tf.matmul(tf.reduce_mean(inner, [1, 2]), network.dense)

    return tf.while_loop(lambda i, _: i < 3, step, (0, tf.zeros([tf.shape(images)[0], 6])))[1]


def scanned(network: Network, images: Any) -> Any:
    rows = tf.transpose(tf.reduce_mean(network.maps(images), 2), [1, 0, 2])
    return tf.scan(lambda kept, row: 0.5 * kept + tf.tanh(row), rows)[-1]


def nested_loops(network: Network, images: Any) -> Any:
    def outer(i: Any, x: Any) -> Any:
        _, y = tf.while_loop(lambda j, _: j < i, lambda j, y: (j + 1, y * 1.1 + 0.1), (0, x))
        return i + 1, y

    return tf.while_loop(lambda i, _: i < 4, outer, (0, network.embed(images)))[1]


def branch_over_batch(network: Network, images: Any) -> Any:
    bright = tf.reduce_mean(images) > 0.5
    return tf.cond(bright, lambda: network.embed(images), lambda: network.embed(1 - images))


def switched(network: Network, images: Any) -> Any:
    level = tf.cast(tf.reduce_mean(images, [1, 2, 3]) * 3, tf.int32)

    def one(item: Any) -> Any:
        image, number = item
        batch = image[tf.newaxis]
        branches = [lambda factor=factor: network.embed(batch * factor)[0] for factor in (1.0, 2.0, 3.0)]
        return tf.switch_case(number, branches)

    return tf.map_fn(one, (images, level), fn_output_signature=tf.float32)


FLOWS = (
    Form("`tf.map_fn` with a `tf.cond` for each image", "map_fn", serving(mapped)),
    Form("`tf.while_loop`, with variables", "while_loop", serving(counted)),
    Form("`tf.while_loop` in a `tf.while_loop`", "nested_loops", serving(nested_loops)),
    Form("`tf.scan`", "scan", serving(scanned)),
    Form("`tf.switch_case` in a `tf.map_fn`", "switch_case", serving(switched)),
    Form("a `tf.cond` over the whole batch", "branch_over_batch", serving(branch_over_batch)),
)


# TensorFlow 1


def session_model(*tags: str, switch: bool = False, hub: bool = False, v2: bool = False) -> Any:
    """Writes a graph with branches and loops of TensorFlow 1, as a SavedModel or a TF1 Hub module.

    With ``v2``, its branches and loops are those of TensorFlow 2.
    """

    def make(path: Path) -> Call:
        v1 = tf.compat.v1
        network = Network()
        kernel = network.kernel.numpy()
        enabled = v1.control_flow_v2_enabled()
        (v1.enable_control_flow_v2 if v2 else v1.disable_control_flow_v2)()
        try:
            with tf.Graph().as_default(), v1.Session() as session:
                images = v1.placeholder(tf.float32, [None, *RGB], "images")
                training = v1.placeholder_with_default(False, [], "is_training")
                weights = v1.get_variable("kernel", initializer=kernel)
                x = tf.nn.relu(tf.nn.conv2d(images, weights, 2, "SAME"))

                def loop(x: Any) -> Any:
                    return v1.while_loop(lambda i, _: i < 3, lambda i, a: (i + 1, tf.nn.relu(a * 1.5 - 0.1)), [0, x])[1]

                x = loop(v1.cond(training, lambda: tf.nn.dropout(loop(x), 0.5), lambda: x))
                features = tf.reduce_mean(x, [1, 2], name="features")
                session.run(v1.global_variables_initializer())
                inputs = {"images": images, **({"is_training": training} if switch else {})}
                definition = v1.saved_model.predict_signature_def(inputs, {"features": features})
                signatures = {"default" if hub else "serving_default": definition}
                builder = v1.saved_model.Builder(str(path))
                builder.add_meta_graph_and_variables(session, [] if hub else [tags[0]], signatures)
                for other in tags[1:]:
                    builder.add_meta_graph(other.split(","), signatures)
                builder.save()
        finally:
            if enabled:
                v1.enable_control_flow_v2()
        if hub:
            (path / "tfhub_module.pb").write_bytes(b"\x08\x03")  # ModuleDef { format: FORMAT_V3 }

        def direct(values: Any) -> Any:
            x = network.maps(values)
            for _ in range(3):
                x = tf.nn.relu(x * 1.5 - 0.1)
            return tf.reduce_mean(x, [1, 2])

        return direct

    return make


SESSIONS = (
    Form("TensorFlow 1, with branches and loops", "tf1", session_model("serve")),
    Form("TensorFlow 1, with an input `is_training`", "tf1_switch", session_model("serve", switch=True)),
    Form("a TF1 Hub module, with branches and loops", "tf1_hub", session_model(hub=True)),
    Form("a TF1 Hub module, with an input `is_training`", "tf1_hub_switch", session_model(switch=True, hub=True)),
    Form("a TF1 Hub module, with those of TensorFlow 2", "tf1_hub_v2", session_model(hub=True, v2=True)),
    Form(
        "TensorFlow 1, with two graphs and `--tags`",
        "tf1_tags",
        session_model("serve", "gpu,serve"),
        {**RANGE, "tags": "serve"},
    ),
    Form(
        "TensorFlow 1, with two graphs",
        "tf1_tags_untold",
        session_model("serve", "gpu,serve"),
        says="several graphs; choose with --tags: gpu,serve or serve",
    ),
)

FORMS = (*TAKES, *CALLED, *GIVES, *FLOWS, *SESSIONS)
