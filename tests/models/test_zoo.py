"""Models in the forms that people export give the features of a direct call, or are refused by one sentence."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from beam_job.core.errors import ModelError, ModelRejectedError
from beam_job.core.option_fields import group_of
from beam_job.core.options import ModelOptions
from beam_job.core.records import Float32Array
from beam_job.engines import comparison
from beam_job.engines.base import EngineChoice
from beam_job.engines.selection import choose_engine, load_engine
from beam_job.extraction.batches import run_model
from beam_job.models.spec import ModelSpec, describe_model
from beam_job.runtime.threadmap import batched
from tests.support.required import skip_or_fail
from tests.support.sounds import decoded, sounds
from tests.support.zoo.form import Call, Form, images
from tests.support.zoo.table import FORMS, table
from tests.support.zoo.texts import texts

pytestmark = pytest.mark.usefixtures("in_this_process")


CONTENTS = {"image": images, "text": texts, "audio": sounds}


def values_of(form: Form) -> list[Any]:
    """What the direct call takes, one example at a time."""
    if form.modality == "text":
        return [tf.constant([text]) for text in texts()]
    if form.modality == "audio":
        return [tf.constant(decoded(sound)) for sound in sounds()]
    return [tf.cast(tf.io.decode_png(image)[tf.newaxis] / 255, tf.float32) for image in images()]


def features(spec: ModelSpec, choice: EngineChoice) -> Float32Array:
    """The features of the examples as the job computes them, with full batches."""
    engine = load_engine(choice, spec, 1)
    examples = [spec.modality.prepare(content) for content in CONTENTS[spec.modality.name]()]
    found: list[Float32Array] = []
    for batch in batched(examples, choice.batch_size):
        for answer in run_model(batch, spec, engine, choice.batch_size):
            assert not isinstance(answer, ModelRejectedError), answer
            found.extend(answer.values())
    return np.stack(found)


def direct_features(call: Call, values: list[Any]) -> Float32Array:
    """The features of examples, one by one."""
    answers = [tf.cast(call(value), tf.float32).numpy() for value in values]
    return np.concatenate([answer[:, np.newaxis] if answer.ndim == 1 else answer for answer in answers])


@pytest.mark.parametrize("form", FORMS, ids=[form.name for form in FORMS])
def test_a_form_of_model_gives_the_features_of_a_direct_call_or_is_refused(
    form: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if form.requires and importlib.util.find_spec(form.requires) is None:
        skip_or_fail(f"needs {form.requires}")
    monkeypatch.setattr(comparison, "_TIMED_SECONDS", 0)
    call = form.make(tmp_path / form.name)
    given = {name: value.format(folder=tmp_path) for name, value in form.options.items()}
    options = group_of(ModelOptions, {"model": str(tmp_path / form.name), **given})
    if form.says:
        with pytest.raises(ModelError) as caught:
            choose(options)
        assert re.search(form.says, str(caught.value)), caught.value
        assert "\n" not in str(caught.value)
        return
    assert call is not None, "a form that is not refused has a direct call"
    expected = direct_features(call, values_of(form))
    spec, chosen = choose(options)
    differences = {}
    for name in dict.fromkeys(("tensorflow", chosen.name)):
        found = features(spec, EngineChoice(name, batch_size=chosen.batch_size))
        assert found.shape == expected.shape
        differences[name] = np.abs(found - expected).max() / np.abs(expected).max()
    with capsys.disabled():
        print(f"\n  {form.what:62} " + "  ".join(f"{name} {value:.0e}" for name, value in differences.items()), end="")
    assert max(differences.values()) <= form.tolerance


def choose(options: ModelOptions) -> tuple[ModelSpec, EngineChoice]:
    """What a launch makes of a model."""
    spec = describe_model(options)
    contents = CONTENTS[spec.modality.name]()
    examples = [spec.modality.prepare(content) for content in contents]
    return spec, choose_engine(spec, "auto", "fp32", None, lambda: spec.row_of_each(examples))


def test_the_table_stands_in_the_documentation() -> None:
    assert table() in Path("docs/models.md").read_text()
