"""A sentence encoder with the weights that were published, against a direct call of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

import beam_job
from beam_job.core import naming
from beam_job.core.options import ModelOptions
from beam_job.models.sources.builtin import BuiltinModel
from tests.support.datasets import records_of
from tests.support.embedded import embedded_or_skip

# Two of each meaning, in other words.
PAIRS = (
    ("A man is playing a guitar", "Someone performs music on a stringed instrument"),
    ("The stock market fell sharply", "Share prices dropped a lot"),
    ("She bakes bread every morning", "At dawn she makes loaves in the oven"),
    ("The spacecraft landed on Mars", "A probe touched down on the red planet"),
)


def test_features_of_minilm_equal_a_direct_call(tmp_path: Path) -> None:
    name = embedded_or_skip("all-minilm-l6-v2")
    paragraphs = [part for part in Path("docs/models.md").read_text().split("\n\n") if part.strip()][:20]
    lines = [sentence for pair in PAIRS for sentence in pair] + [" ".join(part.split()) for part in paragraphs]
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    beam_job.extract(str(tmp_path / "lines.txt"), str(tmp_path / "out"), modality="text")
    records = records_of(tmp_path / "out")
    found = np.stack([records[f"lines.txt:{number}"]["feature"] for number in range(1, len(lines) + 1)])
    import tensorflow_text  # noqa: F401 - the model has its operations

    module = tf.saved_model.load(BuiltinModel.fetch(ModelOptions(model=name)).path)
    expected = np.concatenate([module(tf.constant([line])).numpy() for line in lines])
    np.testing.assert_allclose(np.linalg.norm(found - expected, axis=1), 0, atol=1e-5)  # of vectors of length 1
    similar = found[: 2 * len(PAIRS)] @ found[: 2 * len(PAIRS)].T
    np.fill_diagonal(similar, -1)
    assert similar.argmax(1).tolist() == [1, 0, 3, 2, 5, 4, 7, 6]
    assert (tmp_path / "out" / naming.SUCCESS).exists()
