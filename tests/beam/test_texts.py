"""Whole runs of texts: from files and tables to features, a head that takes strings, and a report that shows them."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tensorflow as tf

import beam_job
from beam_job.core import naming
from beam_job.core.errors import BeamJobError, InputError, ModelError, UsageError
from beam_job.core.records import Float32Array
from beam_job.engines.registry import ENGINES
from beam_job.engines.tensorflow import TensorFlowEngine
from beam_job.modalities.base import Batch
from beam_job.runtime.registry import Entry
from tests.support.datasets import comparable_files, error_rows_of, records_of
from tests.support.images import jpeg, photograph
from tests.support.kills import KILLS, check_killed_runs
from tests.support.portable import portable_runner
from tests.support.required import require_package
from tests.support.zoo import texts
from tests.support.zoo.form import Call

WORDS = texts.WORDS[4:]
# Examples, of which some are the same, and rows that give no features.
COUNT, DIFFERENT = 60, 40


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], Call]:
    """A preprocessor and an encoder whose texts are filled up, as options, and its direct call."""
    require_package("tensorflow_text")
    folder = tmp_path_factory.mktemp("bert")
    call = texts.two_parts("sequence_output:avg")(folder / "encoder")
    options = {"model": str(folder / "encoder"), "text_preprocessor": str(folder / "preprocessor")}
    return {**options, "layer": "sequence_output:avg"}, call


@pytest.fixture(scope="module")
def sentences() -> list[tuple[str, str]]:
    """Texts and their labels: the topic is the word that stands most often in it."""
    chance = random.Random(0)
    different = []
    for number in range(DIFFERENT):
        topic = ("cat", "rain")[number % 2]
        words = [topic] * 4 + chance.choices(WORDS, k=chance.randrange(1, 20))
        different.append((f"{' '.join(chance.sample(words, len(words)))} {number}", topic))
    return (different * 2)[:COUNT]


@pytest.fixture(scope="module")
def table(sentences: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "sentences.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows(sentences)
    return path


@pytest.fixture(scope="module")
def extracted(table: Path, model: tuple[dict[str, str], Call], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("features") / "dataset"
    beam_job.extract(str(table), str(output), worker_threads=1, num_shards=2, **model[0])
    return output


def by_text(folder: Path, sentences: list[tuple[str, str]]) -> dict[str, Float32Array]:
    """Text to feature, for ids that end in the number of a row."""
    found = {}
    for example_id, record in records_of(folder).items():
        found[sentences[int(example_id.rpartition(":")[2]) - 2][0]] = record["feature"]
    return found


def test_features_equal_a_direct_call(
    extracted: Path, model: tuple[dict[str, str], Call], sentences: list[tuple[str, str]]
) -> None:
    assert len(records_of(extracted)) == COUNT
    found = by_text(extracted, sentences)
    assert len(found) == DIFFERENT
    for text, feature in found.items():
        np.testing.assert_allclose(feature, model[1](tf.constant([text])).numpy()[0], rtol=1e-5, atol=1e-6)
    names = (extracted / naming.LABELS).read_text().splitlines()
    for example_id, record in records_of(extracted).items():
        assert names[record["label"]] == sentences[int(example_id.rpartition(":")[2]) - 2][1]


def test_run_json_names_both_parts_and_what_a_text_is(extracted: Path, model: tuple[dict[str, str], Call]) -> None:
    run = json.loads((extracted / naming.RUN).read_text())
    assert run["model"]["modality"] == "text"
    assert run["model"]["text_preprocessor"] == model[0]["text_preprocessor"]
    assert run["decode"] == {"encoding": "utf-8", "max_text_bytes": 1_000_000}


@pytest.mark.parametrize(("mode", "workers"), [("multi_threading", 2), ("multi_processing", 2)], ids=str)
def test_bytes_do_not_depend_on_the_number_of_workers(
    table: Path, extracted: Path, model: tuple[dict[str, str], Call], tmp_path: Path, mode: str, workers: int
) -> None:
    beam_options = [f"--direct_running_mode={mode}", f"--direct_num_workers={workers}"]
    beam_job.extract(str(table), str(tmp_path / "out"), beam_options=beam_options, num_shards=2, **model[0])
    assert comparable_files(tmp_path / "out") == comparable_files(extracted)


def test_a_lost_shard_comes_back_as_it_was(
    table: Path, extracted: Path, model: tuple[dict[str, str], Call], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    beam_job.extract(str(table), str(output), num_shards=2, **model[0])
    (lost,) = output.glob("train-00001-of-*.tfrecord")
    lost.unlink()
    (output / naming.SUCCESS).unlink()
    beam_job.extract(str(table), str(output), resume=True, num_shards=2, **model[0])
    assert comparable_files(output) == comparable_files(extracted)
    assert beam_job.verify(str(output)).records == COUNT


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_a_run_killed_at_any_point_is_resumed_to_the_same_bytes(
    model: tuple[dict[str, str], Call], sentences: list[tuple[str, str]], tmp_path: Path
) -> None:
    table = tmp_path / "many.csv"
    rows = [f'"{text} {number}",{label}' for number in range(100) for text, label in sentences]
    table.write_text("\n".join(["text,label", *rows]))
    options = [f"--{name}={value}" for name, value in model[0].items()]
    check_killed_runs([f"--input={table}", "--num_shards=12", *options], tmp_path, max(4, KILLS // 10))


def test_files_and_tables_give_the_same_features(
    extracted: Path, model: tuple[dict[str, str], Call], sentences: list[tuple[str, str]], tmp_path: Path
) -> None:
    expected = by_text(extracted, sentences)
    for number, (text, label) in enumerate(sentences[:DIFFERENT], 2):
        (tmp_path / "files" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / label / f"{number}.txt").write_text(text)
    (tmp_path / "sentences.txt").write_text("\n".join(["first", *(text for text, _ in sentences[:DIFFERENT])]))
    for name in ("files", "sentences.txt"):
        output = tmp_path / f"features-{name}"
        beam_job.extract(str(tmp_path / name), str(output), **model[0])
        for example_id, record in records_of(output).items():
            number = int(example_id.replace("/", ":").rpartition(":")[2].removesuffix(".txt"))
            if number > 1:
                text = sentences[number - 2][0]
                np.testing.assert_allclose(record["feature"], expected[text], rtol=1e-5, atol=1e-6)


class CountingEngine(TensorFlowEngine):
    """TensorFlow, with a count of the examples that it ran."""

    ran: ClassVar[list[int]] = []

    def run(self, batch: Batch) -> Mapping[str, Float32Array]:
        self.ran.append(len(batch))
        return super().run(batch)


@pytest.mark.usefixtures("in_this_process")
def test_a_text_that_a_shard_has_twice_is_computed_once(
    table: Path, model: tuple[dict[str, str], Call], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINES.entries, "counting", Entry(f"{__name__}:CountingEngine"))
    options: dict[str, Any] = {"num_shards": 1, "engine": "counting", **model[0]}
    beam_job.extract(str(table), str(tmp_path / "first"), **options)  # compares the engines
    CountingEngine.ran.clear()
    beam_job.extract(str(table), str(tmp_path / "out"), **options)
    assert sum(CountingEngine.ran) == DIFFERENT + 1  # the probe


def test_what_is_no_text_becomes_an_error_row(model: tuple[dict[str, str], Call], tmp_path: Path) -> None:
    contents = {
        "good.txt": b"a cat",
        "latin.txt": b"caf\xe9",
        "empty.txt": b"",
        "blank.txt": b" \n",
        "long.txt": b"x" * 101,
    }
    (tmp_path / "in").mkdir()
    for name, content in contents.items():
        (tmp_path / "in" / name).write_bytes(content)
    limits: dict[str, Any] = {"max_text_bytes": 100, "max_error_rate": 1.0}
    beam_job.extract(str(tmp_path / "in"), str(tmp_path / "out"), **limits, **model[0])
    assert list(records_of(tmp_path / "out")) == ["good.txt"]
    assert {name: row["error"] for name, row in error_rows_of(tmp_path / "out").items()} == {
        "latin.txt": "CorruptExampleError",
        "empty.txt": "EmptyFileError",
        "blank.txt": "EmptyFileError",
        "long.txt": "ExampleTooLargeError",
    }


def test_photographs_are_refused_for_a_model_of_texts(
    few: Path, model: tuple[dict[str, str], Call], tmp_path: Path
) -> None:
    (tmp_path / "photo.bin").write_bytes(jpeg(photograph()))
    (tmp_path / "photos.csv").write_text("uri\nphoto.bin\n")
    for path in (few, tmp_path / "photos.csv"):
        with pytest.raises(InputError, match=r"Expected an input of text examples, .* found image examples"):
            beam_job.extract(str(path), str(tmp_path / "out"), **model[0])
    assert not (tmp_path / "out").exists()


def test_texts_are_refused_for_a_model_of_images(tmp_path: Path, small_model: dict[str, str]) -> None:
    (tmp_path / "in/a").mkdir(parents=True)
    (tmp_path / "in/a/1.txt").write_text("a cat")
    with pytest.raises(InputError, match=r"Expected an input of image examples, .* found text examples"):
        beam_job.extract(str(tmp_path / "in"), str(tmp_path / "out"), **small_model)


def test_a_stray_text_says_nothing_of_an_input(tmp_path: Path, small_model: dict[str, str]) -> None:
    (tmp_path / "in/a").mkdir(parents=True)
    for name in ("1.xyz", "2.xyz", "notes.txt"):
        (tmp_path / "in/a" / name).write_text("a cat")
    with pytest.raises(InputError, match="Found no example in"):
        beam_job.extract(str(tmp_path / "in"), str(tmp_path / "out"), **small_model)


def test_options_of_images_are_refused_for_texts_and_the_other_way_round(
    table: Path, few: Path, tmp_path: Path, model: tuple[dict[str, str], Call], small_model: dict[str, str]
) -> None:
    for options in ({"input_range": "0,1"}, {"decode": "fast"}, {"image_size": "32"}):
        with pytest.raises(UsageError, match="is for image examples, and the model takes text examples"):
            beam_job.extract(str(table), str(tmp_path / "out"), **options, **model[0])
    for options in ({"max_text_bytes": "9"}, {"text_column": "body"}):
        with pytest.raises(BeamJobError, match=r"is for text examples|goes with a manifest"):
            beam_job.extract(str(few), str(tmp_path / "out"), **options, **small_model)


def test_what_does_not_fit_the_preprocessor_is_refused(
    model: tuple[dict[str, str], Call], small_model: dict[str, str]
) -> None:
    preprocessor = model[0]["text_preprocessor"]
    for other in (preprocessor, small_model["model"]):
        with pytest.raises(ModelError, match=r"Expected an encoder that takes what --text_preprocessor gives \(input_"):
            beam_job.inspect_model(other, text_preprocessor=preprocessor)


def test_a_head_takes_strings_and_the_report_shows_texts(
    extracted: Path, sentences: list[tuple[str, str]], tmp_path: Path
) -> None:
    import tensorflow_text  # noqa: F401 - the served model has its operations

    result = beam_job.train_head(str(extracted), head=str(tmp_path / "head"), hidden=0, epochs=60)
    assert (result.input, result.packages) == ("text", ("tensorflow_text",))
    assert result.served is not None
    assert result.served.examples == 8
    assert result.served.largest_difference is not None
    assert result.served.largest_difference < 1e-5
    serve = tf.saved_model.load(str(tmp_path / "head/saved_model")).signatures["serving_default"]
    answer = serve(text=tf.constant(["cat cat cat cat cat", "rain rain rain rain"]))
    assert [result.classes[index] for index in answer["probabilities"].numpy().argmax(1)] == ["cat", "rain"]
    report = beam_job.report(str(extracted), report=str(tmp_path / "report.html"))
    page = Path(report.report).read_text()
    assert sum(text[:30] in page for text, _ in sentences) == COUNT


def test_a_model_of_texts_is_inspected(model: tuple[dict[str, str], Call]) -> None:
    options = {name: value for name, value in model[0].items() if name != "model"}
    found = beam_job.inspect_model(model[0]["model"], **options)
    assert found.modality == "text"
    assert found.features == {"feature/sequence_output_avg": (16,)} or found.features == {"feature": (16,)}
    assert {"pooled_output", "sequence_output"} <= set(found.outputs)


def test_the_portable_runner_gives_the_same_bytes(
    table: Path, extracted: Path, model: tuple[dict[str, str], Call], tmp_path: Path
) -> None:
    with portable_runner(tmp_path) as beam_options:
        beam_job.extract(str(table), str(tmp_path / "out"), num_shards=2, beam_options=beam_options, **model[0])
    assert comparable_files(tmp_path / "out") == comparable_files(extracted)
