"""Models of texts, in the forms that TF Hub's have: strings to vectors, and a preprocessor with an encoder."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.support.zoo.form import Call, Form, Network, save

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "on", "mat", "dog", "ran", "##s", "a", "hill", "rain")
TEXTS = ("The cat sat", "a dog ran on the hills on the mat", "\u00fcber alles", "rain", "the the the the the the a")
WIDTH = 16
_TEXT = "tensorflow_text"
_STRINGS = tf.TensorSpec([None], tf.string, "sentences")


def texts() -> list[bytes]:
    """Short and longer texts, with words that no vocabulary has."""
    return [text.encode() for text in TEXTS]


class Embeddings(tf.Module):
    """Ragged words to vectors [B, 16]: their embeddings, summed, divided by the root of their number."""

    def __init__(self, size: int, lookup: Callable[[Any], Any]) -> None:
        super().__init__()
        self.weights = tf.Variable(np.random.default_rng(0).normal(size=(size, WIDTH)), dtype=tf.float32)
        self.lookup = lookup

    def embed(self, words: Any) -> Any:
        ids = tf.ragged.map_flat_values(self.lookup, words)
        vectors = tf.ragged.map_flat_values(lambda found: tf.gather(self.weights, found), ids)
        length = tf.cast(words.row_lengths(), tf.float32)[:, tf.newaxis]
        return tf.math.divide_no_nan(tf.reduce_sum(vectors, axis=1), tf.sqrt(length))


def split(sentences: Any) -> Any:
    return tf.strings.split(tf.strings.lower(sentences))


def hashed(words: Any) -> Any:
    return tf.strings.to_hash_bucket_fast(words, 100)


def vocabulary_table(path: Path) -> Any:
    """Words to their numbers, from an asset; four numbers more for others, by their hash."""
    file = path.parent / "vocabulary.txt"
    file.write_text("\n".join(WORDS))
    lines = tf.lookup.TextFileInitializer(
        str(file), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    return tf.lookup.StaticVocabularyTable(lines, 4)


def callable_module(path: Path) -> Call:
    """The form of NNLM: callable, its words in an asset."""
    table = vocabulary_table(path)
    module = Embeddings(len(WORDS) + 4, table.lookup)
    module.table = table
    module.__call__ = tf.function(lambda sentences: module.embed(split(sentences)), input_signature=[_STRINGS])
    tf.saved_model.save(module, str(path))
    (path.parent / "vocabulary.txt").unlink()
    return lambda sentences: module.embed(split(sentences))


def mutable_table(path: Path) -> Call:
    """A table whose content is in the checkpoint."""
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, 1)
    table.insert(list(WORDS), list(range(len(WORDS))))
    module = Embeddings(len(WORDS), table.lookup)
    module.table = table
    save(path, module, serving_default=(lambda sentences: module.embed(split(sentences)), [_STRINGS]))
    return lambda sentences: module.embed(split(sentences))


def dictionary_of_outputs(path: Path) -> Call:
    """The form of the Universal Sentence Encoder in TensorFlow 1: a signature with the output ``outputs``."""
    module = Embeddings(100, hashed)
    save(path, module, serving_default=(lambda sentences: {"outputs": module.embed(split(sentences))}, [_STRINGS]))
    return lambda sentences: module.embed(split(sentences))


def vectorization(shape: tuple[int, ...]) -> keras.Model:
    keras.utils.set_random_seed(0)
    layer = keras.layers.TextVectorization(max_tokens=50, output_sequence_length=8)
    layer.adapt([*TEXTS, "on the mat"])
    inputs = keras.Input(shape, dtype="string")
    ids = layer(inputs)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(50, WIDTH)(ids)))


def by_keras(shape: tuple[int, ...]) -> Callable[[Path], Call]:
    """A TextVectorization in a Keras model, as a file by its suffix or else as an export."""

    def make(path: Path) -> Call:
        model = vectorization(shape)
        if path.suffix:
            model.save(path)
        else:
            model.export(path, verbose=False)
        return lambda sentences: model(sentences[:, tf.newaxis] if shape else sentences)

    return make


def own_operations(path: Path) -> Call:
    """Operations of tensorflow-text."""
    import tensorflow_text

    module = Embeddings(100, hashed)
    tokenizer = tensorflow_text.UnicodeScriptTokenizer()
    save(path, module, serving_default=(lambda texts: module.embed(tokenizer.tokenize(texts)), [_STRINGS]))
    return lambda texts: module.embed(tokenizer.tokenize(texts))


def sentence_pieces(path: Path) -> Call:
    """A SentencePiece model, which is a resource that is no table."""
    import sentencepiece
    import tensorflow_text

    trained = io.BytesIO()
    sentences = (f"{one} {two}" for one in TEXTS for two in TEXTS)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sentences, model_writer=trained, vocab_size=40, hard_vocab_limit=False, minloglevel=2
    )
    module = Embeddings(100, lambda ids: ids)
    module.tokenizer = tensorflow_text.SentencepieceTokenizer(trained.getvalue())
    save(path, module, serving_default=(lambda texts: module.embed(module.tokenizer.tokenize(texts)), [_STRINGS]))
    return lambda texts: module.embed(module.tokenizer.tokenize(texts))


class Encoder(tf.Module):
    """Numbers of tokens to a sequence of vectors and a pooled one, as BERT's: one layer of attention."""

    def __init__(self) -> None:
        super().__init__()
        random = np.random.default_rng(1)
        self.words = tf.Variable(random.normal(size=(len(WORDS), WIDTH)), dtype=tf.float32)
        self.dense = tf.Variable(random.normal(size=(WIDTH, WIDTH)) / 4, dtype=tf.float32)

    def encode(self, tokens: Mapping[str, Any]) -> dict[str, Any]:
        x = tf.gather(self.words, tokens["input_word_ids"]) + tf.cast(tokens["input_type_ids"], tf.float32)[..., None]
        mask = tf.cast(tokens["input_mask"], tf.float32)
        scores = tf.matmul(x, x, transpose_b=True) / 4 + (1 - mask)[:, tf.newaxis] * -1e9
        sequence = x + tf.tanh(tf.matmul(tf.nn.softmax(scores), x) @ self.dense)
        pooled = tf.tanh(sequence[:, 0] @ self.dense)
        return {"default": pooled, "pooled_output": pooled, "sequence_output": sequence}


def two_parts(output: str) -> Callable[[Path], Call]:
    """The form of BERT: ``preprocessor`` beside the encoder gives three arrays of numbers [B, 12]."""

    def make(path: Path) -> Call:
        import tensorflow_text

        first, second = tf.Module(), Encoder()
        table = vocabulary_table(path)
        first.tokenizer = tensorflow_text.BertTokenizer(table, lower_case=True, token_out_type=tf.int32)

        def preprocess(sentences: Any) -> dict[str, Any]:
            words = tf.minimum(first.tokenizer.tokenize(sentences).merge_dims(1, 2), len(WORDS) - 1)
            words, types = tensorflow_text.combine_segments([words], WORDS.index("[CLS]"), WORDS.index("[SEP]"))
            ids, mask = tensorflow_text.pad_model_inputs(words, 12)
            types, _ = tensorflow_text.pad_model_inputs(types, 12)
            return {"input_word_ids": ids, "input_mask": mask, "input_type_ids": types}

        first.__call__ = tf.function(preprocess, input_signature=[_STRINGS])
        tf.saved_model.save(first, str(path.parent / "preprocessor"))
        specs = {name: tf.TensorSpec([None, None], tf.int32, name) for name in preprocess(tf.constant(["a"]))}
        second.__call__ = tf.function(second.encode, input_signature=[specs])
        tf.saved_model.save(second, str(path))

        def direct(sentences: Any) -> Any:
            tokens = preprocess(sentences)
            answer = second.encode(tokens)
            if output == "default":
                return answer[output]
            mask = tf.cast(tokens["input_mask"], tf.float32)[:, :, tf.newaxis]
            if output.endswith("avg"):
                return tf.reduce_sum(answer["sequence_output"] * mask, 1) / tf.reduce_sum(mask, 1)
            return tf.reduce_max(tf.where(mask > 0, answer["sequence_output"], -np.inf), 1)

        return direct

    return make


def sessions(path: Path) -> Call:
    """A TF1 Hub module: an asset, a table, and an embedding, in a graph of TensorFlow 1."""
    v1 = tf.compat.v1
    weights = np.random.default_rng(2).normal(size=(len(WORDS) + 1, WIDTH)).astype(np.float32)
    file = path.parent / "words.txt"
    file.write_text("\n".join(WORDS))
    with tf.Graph().as_default(), v1.Session() as session:
        sentences = v1.placeholder(tf.string, [None], "sentences")
        name = tf.constant(str(file))
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, name)
        lines = tf.lookup.TextFileInitializer(
            name, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        )
        table = tf.lookup.StaticHashTable(lines, len(WORDS))
        variable = v1.get_variable("embeddings", initializer=weights)
        words = split(sentences)
        vectors = tf.RaggedTensor.from_row_splits(tf.gather(variable, table.lookup(words.values)), words.row_splits)
        summed = tf.reduce_sum(vectors, axis=1)
        session.run((v1.global_variables_initializer(), v1.tables_initializer()))
        definition = v1.saved_model.predict_signature_def({"text": sentences}, {"default": summed})
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            session, [], {"default": definition}, [name], main_op=v1.tables_initializer(name="tables")
        )
        builder.save()
    (path / "tfhub_module.pb").write_bytes(b"\x08\x03")  # ModuleDef { format: FORMAT_V3 }
    file.unlink()

    def direct(sentences: Any) -> Any:
        rows = [
            [WORDS.index(word) if word in WORDS else len(WORDS) for word in text.lower().split()]
            for text in (value.decode() for value in sentences.numpy())
        ]
        return tf.constant([weights[row].sum(0) for row in rows])

    return direct


def filled_up(path: Path) -> Call:
    """Words filled up to the longest text of the batch, whose number counts: a text's vector depends on the others."""
    module = Embeddings(100, hashed)

    def embed(sentences: Any) -> Any:
        ids = hashed(split(sentences).to_tensor("[PAD]"))
        return tf.reduce_mean(tf.gather(module.weights, ids), axis=1)

    save(path, module, serving_default=(embed, [_STRINGS]))
    return embed


def token_rows(path: Path) -> Call:
    """A vector for each word, filled up to the longest text of the batch: a text has its own when it is alone."""
    module = Embeddings(100, hashed)

    def embed(sentences: Any) -> Any:
        return tf.gather(module.weights, hashed(split(sentences).to_tensor("[PAD]")))

    save(path, module, serving_default=(embed, [_STRINGS]))
    return lambda sentences: tf.reduce_mean(embed(sentences), axis=1)


def of_file_bytes(path: Path) -> None:
    network = Network()

    def serve(contents: Any) -> Any:
        images = tf.map_fn(lambda content: tf.io.decode_jpeg(content, 3), contents, fn_output_signature=tf.uint8)
        return {"feature": network.embed(tf.image.resize(images, (32, 32)))}

    save(path, network, serving_default=(serve, [tf.TensorSpec([None], tf.string, "image_bytes")]))


def of_records(path: Path) -> None:
    network = Network()

    def serve(examples: Any) -> Any:
        parsed = tf.io.parse_example(examples, {"values": tf.io.FixedLenFeature([8], tf.float32)})
        return {"feature": parsed["values"] @ network.dense}

    save(path, network, serving_default=(serve, [tf.TensorSpec([None], tf.string, "examples")]))


def _form(what: str, name: str, make: Callable[[Path], Call | None], **attributes: Any) -> Form:
    return Form(what, name, make, **{"options": {}, "modality": "text", **attributes})


def _bert(pool: str, layer: str = "") -> Form:
    options = {"text_preprocessor": "{folder}/preprocessor", **({"layer": layer} if layer else {})}
    what = f"a preprocessor and an encoder, {f'`--layer {layer}`' if layer else 'its default output'}"
    return _form(what, f"bert_{pool}", two_parts(layer or "default"), options=options, requires=_TEXT)


FORMS = (
    _form("callable, with a vocabulary in an asset (NNLM)", "nnlm", callable_module),
    _form("a table whose content is in the checkpoint", "mutable", mutable_table),
    _form("a signature with a dictionary (Universal Sentence Encoder)", "use", dictionary_of_outputs),
    _form("TextVectorization, .keras", "vectorization.keras", by_keras(())),
    _form("TextVectorization, export", "vectorization", by_keras(())),
    _form("TextVectorization of [B, 1], export", "vectorization_column", by_keras((1,))),
    _form("a TF1 Hub module with a vocabulary", "tf1_text", sessions),
    _form("operations of tensorflow-text", "own_operations", own_operations, requires=_TEXT),
    _form("a SentencePiece model", "sentence_pieces", sentence_pieces, requires=_TEXT),
    _bert("default"),
    _bert("avg", "sequence_output:avg"),
    _bert("max", "sequence_output:max"),
    _form("texts that depend on the longest of the batch", "filled_up", filled_up),
    _form("vectors of words, `--layer default:avg`", "words", token_rows, options={"layer": "default:avg"}),
    _form(
        "an encoder without its preprocessor",
        "encoder",
        two_parts("default"),
        requires=_TEXT,
        says=r"its call has .*input_word_ids.*name it with --text_preprocessor",
    ),
    _form("the bytes of JPEGs", "image_bytes", of_file_bytes, says=r"takes the bytes of files or records \(DecodeJpeg"),
    _form("serialized tf.train.Example", "records", of_records, says=r"takes the bytes of files or records \(Parse"),
)
