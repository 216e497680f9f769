"""Whole runs of sounds: from files and clips to features, a head that takes WAV files, and a report that plays them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from pyarrow import parquet

import beam_job
from beam_job.core import naming
from beam_job.core.errors import InputError, UsageError
from tests.support.datasets import comparable_files, error_rows_of, records_of
from tests.support.images import jpeg, photograph
from tests.support.kills import KILLS, check_killed_runs
from tests.support.portable import portable_runner
from tests.support.sounds import RATE, decoded, encode, tone
from tests.support.zoo import sounds
from tests.support.zoo.form import Call

COUNT = 24
# Format, rate and channels of a file, by turns.
KINDS = (("WAV", RATE, 1), ("FLAC", 44_100, 2), ("OGG", 22_050, 1), ("MP3", 44_100, 2))
FRAMES = {"sample_rate": "16000", "layer": "output_1"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, sounds.Ear]:
    """A model in the form of YAMNet, and what it computes."""
    path = tmp_path_factory.mktemp("yamnet") / "model"
    sounds.yamnet(path)
    return str(path), sounds.Ear()


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], Call]:
    """A model of windows that overlap, as options, and its direct call."""
    path = tmp_path_factory.mktemp("windows") / "model"
    call = sounds.fixed_window((sounds.WINDOW,), sounds.WINDOW // 2)(path)
    return {"model": str(path), "sample_rate": "16000", "audio_hop": str(sounds.WINDOW / 2 / RATE)}, call


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Low and high sounds of different lengths, in a folder per class."""
    root = tmp_path_factory.mktemp("sounds") / "in"
    for number in range(COUNT):
        kind, rate, channels = KINDS[number % len(KINDS)]
        label = ("high", "low")[number % 2]
        (root / label).mkdir(parents=True, exist_ok=True)
        times = np.arange(round((0.5 + 0.2 * (number % 7)) * rate)) / rate
        pitch = np.sin(2 * np.pi * (2000 if label == "high" else 200) * times).astype(np.float32)
        samples = 0.2 * pitch[:, np.newaxis] + tone(len(times) / rate, number, rate, 2)[: len(times)]
        content = encode(samples if channels == 2 else samples.mean(axis=1), rate, kind)
        (root / label / f"{number:02}.{kind.lower()}").write_bytes(content)
    return root


@pytest.fixture(scope="module")
def framed(folder: Path, model: tuple[str, sounds.Ear], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features that are frames, whose number differs."""
    output = tmp_path_factory.mktemp("framed") / "dataset"
    beam_job.extract(str(folder), str(output), model=model[0], num_shards=2, **FRAMES)
    return output


@pytest.fixture(scope="module")
def extracted(folder: Path, windows: tuple[dict[str, str], Call], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("features") / "dataset"
    beam_job.extract(str(folder), str(output), worker_threads=1, num_shards=2, **windows[0])
    return output


def test_frames_equal_a_direct_call(framed: Path, folder: Path, model: tuple[str, sounds.Ear]) -> None:
    found = records_of(framed)
    assert len(found) == COUNT
    for example_id, record in found.items():
        expected = model[1].frames(tf.constant(decoded((folder / example_id).read_bytes()))).numpy()
        np.testing.assert_allclose(record["feature"].reshape(-1, 32), expected, rtol=1e-5, atol=1e-5)
    assert len({record["feature"].size for record in found.values()}) > 3


def test_windows_equal_a_direct_call(extracted: Path, folder: Path, windows: tuple[dict[str, str], Call]) -> None:
    found = records_of(extracted)
    assert len(found) == COUNT
    for example_id, record in found.items():
        expected = windows[1](decoded((folder / example_id).read_bytes())).numpy()[0]
        np.testing.assert_allclose(record["feature"], expected, rtol=1e-5, atol=1e-5)


def test_run_json_says_how_sounds_became_numbers(extracted: Path) -> None:
    run = json.loads((extracted / naming.RUN).read_text())
    assert run["model"]["modality"] == "audio"
    assert run["preprocessing"] == {
        "modality": "audio",
        "sample_rate": RATE,
        "window": sounds.WINDOW,
        "hop": sounds.WINDOW // 2,
        "normalize": "none",
        "range": [-1.0, 1.0],
    }
    assert run["decode"]["channels"] == "mean"
    assert run["model"]["outputs"] == {"feature": [32]}


def test_other_readers_read_frames_of_different_numbers(framed: Path) -> None:
    expected = records_of(framed)
    run = json.loads((framed / naming.RUN).read_text())
    assert run["model"]["outputs"] == {"feature": [None, 32]}
    builder = tfds.builder_from_directory(str(framed))
    assert builder.info.features["feature"].shape == (None, 32)
    rows = {row["id"].decode(): row["feature"] for row in tfds.as_numpy(builder.as_dataset(split="train"))}
    assert rows.keys() == expected.keys()
    for example_id, values in rows.items():
        np.testing.assert_array_equal(values.ravel(), expected[example_id]["feature"])
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    schema = text_format.Parse((framed / naming.SCHEMA).read_text(), schema_pb2.Schema())
    feature = next(feature for feature in schema.feature if feature.name == "feature")
    assert not feature.HasField("shape")
    assert feature.value_count.min == 1
    dataset = beam_job.load_features(str(framed))
    assert dataset.element_spec[0].shape.as_list() == [None, 32]
    batch, labels = next(iter(dataset.ragged_batch(COUNT)))
    assert batch.shape.as_list() == [COUNT, None, 32]
    assert sorted(batch.row_lengths().numpy()) == sorted(record["feature"].size // 32 for record in expected.values())
    assert labels.shape == (COUNT,)


@pytest.mark.parametrize("mode", ["multi_threading", "multi_processing"])
def test_bytes_do_not_depend_on_the_workers(
    folder: Path,
    extracted: Path,
    framed: Path,
    model: tuple[str, sounds.Ear],
    windows: tuple[dict[str, str], Call],
    tmp_path: Path,
    mode: str,
) -> None:
    beam_options = [f"--direct_running_mode={mode}", "--direct_num_workers=2"]
    beam_job.extract(str(folder), str(tmp_path / "a"), beam_options=beam_options, num_shards=2, **windows[0])
    assert comparable_files(tmp_path / "a") == comparable_files(extracted)
    options = {"model": model[0], "num_shards": "2", **FRAMES}
    beam_job.extract(str(folder), str(tmp_path / "b"), beam_options=beam_options, **options)
    assert comparable_files(tmp_path / "b") == comparable_files(framed)


def test_the_portable_runner_gives_the_same_bytes(
    folder: Path, extracted: Path, windows: tuple[dict[str, str], Call], tmp_path: Path
) -> None:
    with portable_runner(tmp_path) as beam_options:
        beam_job.extract(str(folder), str(tmp_path / "out"), num_shards=2, beam_options=beam_options, **windows[0])
    assert comparable_files(tmp_path / "out") == comparable_files(extracted)


def test_a_lost_shard_of_frames_comes_back_as_it_was(
    folder: Path, framed: Path, model: tuple[str, sounds.Ear], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    options = {"model": model[0], "num_shards": "2", **FRAMES}
    beam_job.extract(str(folder), str(output), **options)
    (lost,) = output.glob("train-00001-of-*.tfrecord")
    lost.unlink()
    beam_job.extract(str(folder), str(output), resume=True, **options)
    assert comparable_files(output) == comparable_files(framed)
    assert beam_job.verify(str(output)).records == COUNT


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_a_run_killed_at_any_point_is_resumed_to_the_same_bytes(
    folder: Path, model: tuple[str, sounds.Ear], tmp_path: Path
) -> None:
    names = [path for path in sorted(folder.rglob("*.*")) for _ in range(50)]
    rows = [f"{path},{number % 50 / 200},{number % 50 / 200 + 0.25},a" for number, path in enumerate(names)]
    (tmp_path / "clips.csv").write_text("\n".join(["uri,start,end,label", *rows]))
    options = [f"--{name}={value}" for name, value in {"model": model[0], "worker_threads": 1, **FRAMES}.items()]
    source = f"--input={tmp_path / 'clips.csv'}"
    check_killed_runs([source, "--num_shards=12", *options], tmp_path, max(4, KILLS // 10))


def test_clips_of_long_recordings(windows: tuple[dict[str, str], Call], tmp_path: Path) -> None:
    recording = tone(12.0, 7, 44_100, 2)
    for name, kind, subtype in (
        ("a.wav", "WAV", "PCM_16"),
        ("b.flac", "FLAC", "PCM_24"),
        ("c.wav", "WAV", "FLOAT"),
        ("d.mp3", "MP3", None),
    ):
        (tmp_path / name).write_bytes(encode(recording, 44_100, kind, subtype))
    rows = [
        f"{name},{start},{start + 2.5},x" for name in ("a.wav", "b.flac", "c.wav", "d.mp3") for start in (0, 2.5, 7)
    ]
    bad = {"a.wav,9,20,x": "within the 12.00 s", "a.wav,13,,x": "within the", "a.wav,-1,2,x": "in seconds, from 0 on"}
    bad |= {
        "a.wav,3,2,x": "an end after the start",
        "a.wav,one,2,x": "in seconds",
        "none.wav,1,2,x": "there is no file",
    }
    rows += ["a.wav,10,,rest", "a.wav,,1.5,first", "a.wav,,,whole", *bad]
    (tmp_path / "clips.csv").write_text("\n".join(["uri,start,end,label", *rows]) + "\n")
    output = tmp_path / "out"
    beam_job.extract(str(tmp_path / "clips.csv"), str(output), max_error_rate=1, **windows[0])
    found, errors = records_of(output), error_rows_of(output)
    assert len(found) + len(errors) == len(rows)
    for line, words in bad.items():
        assert any(words in row["message"] for row in errors.values()), line
    for example_id, record in found.items():
        name, _, span = example_id.partition(":")
        whole = decoded((tmp_path / name).read_bytes(), 44_100)
        start, _, end = span.partition("-")
        part = whole[round(float(start or 0) * 44_100) : round(float(end) * 44_100) if end else None]
        cut = decoded(encode(part, 44_100, "WAV", "FLOAT"))
        np.testing.assert_allclose(record["feature"], windows[1](cut).numpy()[0], rtol=1e-4, atol=1e-4)
    assert {"a.wav:10-", "a.wav:0-1.5", "a.wav"} <= found.keys()


def test_clips_of_recordings_that_lie_or_do_not_tell(windows: tuple[dict[str, str], Call], tmp_path: Path) -> None:
    whole = tone(6.0, 3)
    piped = bytearray(encode(whole, RATE, "FLAC"))
    piped[21] &= 0xF0
    piped[22:26] = bytes(4)
    lying = bytearray(encode(whole, RATE, "FLAC"))
    lying[21] |= 0x0F
    lying[22:26] = b"\xff" * 4
    (tmp_path / "piped.flac").write_bytes(piped)
    (tmp_path / "lying.flac").write_bytes(lying)
    rows = ["piped.flac,1,2.5", "piped.flac,4,", "piped.flac,4,6.2", "piped.flac,5,9", "lying.flac,0,3599"]
    (tmp_path / "clips.csv").write_text("\n".join(["uri,start,end", *rows]))
    beam_job.extract(str(tmp_path / "clips.csv"), str(tmp_path / "out"), max_error_rate=1, **windows[0])
    found, errors = records_of(tmp_path / "out"), error_rows_of(tmp_path / "out")
    assert set(found) == {"piped.flac:1-2.5", "piped.flac:4-", "piped.flac:4-6.2"}
    np.testing.assert_array_equal(found["piped.flac:4-"]["feature"], found["piped.flac:4-6.2"]["feature"])
    part = decoded(encode(whole, RATE, "FLAC"))[RATE : RATE * 5 // 2]
    np.testing.assert_allclose(found["piped.flac:1-2.5"]["feature"], windows[1](part).numpy()[0], rtol=1e-4, atol=1e-4)
    assert "within the 6.00 s" in errors["piped.flac:5-9"]["message"]
    assert "it ends after 6.00 s" in errors["lying.flac:0-3599"]["message"]


def test_ids_of_clips_have_all_digits(windows: tuple[dict[str, str], Call], tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(encode(tone(1.0)))
    (tmp_path / "clips.csv").write_text("uri,start,end\na.wav,0.1234567,0.5\na.wav,0.1234568,0.5\n")
    beam_job.extract(str(tmp_path / "clips.csv"), str(tmp_path / "out"), **windows[0])
    assert set(records_of(tmp_path / "out")) == {"a.wav:0.1234567-0.5", "a.wav:0.1234568-0.5"}


def test_clips_of_a_recording_stay_in_one_split(windows: tuple[dict[str, str], Call], tmp_path: Path) -> None:
    rows = []
    for number in range(8):
        (tmp_path / f"{number}.wav").write_bytes(encode(tone(3.0, number)))
        rows += [f"{number}.wav,{start},{start + 1}" for start in range(3)]
    (tmp_path / "clips.csv").write_text("\n".join(["uri,start,end", *rows]))
    output = str(tmp_path / "out")
    beam_job.extract(str(tmp_path / "clips.csv"), output, splits="train=0.5,test=0.5", **windows[0])
    splits: dict[str, set[str]] = {}
    for example_id, record in records_of(tmp_path / "out").items():
        splits.setdefault(example_id.partition(":")[0], set()).add(record["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert set.union(*splits.values()) == {"train", "test"}


def test_what_is_no_sound_becomes_an_error_row(windows: tuple[dict[str, str], Call], tmp_path: Path) -> None:
    whole = encode(tone(2.0))
    contents = {
        "good.wav": whole,
        "half.wav": whole[: len(whole) // 2],
        "empty.wav": b"",
        "silent.wav": encode(np.zeros(RATE, np.float32)),
        "long.flac": encode(tone(4.0), RATE, "FLAC"),
        "page.mp3": b"<html>not found</html>",
    }
    (tmp_path / "in").mkdir()
    for name, content in contents.items():
        (tmp_path / "in" / name).write_bytes(content)
    limits = {"max_audio_seconds": "3", "max_error_rate": "1"}
    beam_job.extract(str(tmp_path / "in"), str(tmp_path / "out"), **limits, **windows[0])
    assert list(records_of(tmp_path / "out")) == ["good.wav"]
    assert {name: row["error"] for name, row in error_rows_of(tmp_path / "out").items()} == {
        "half.wav": "CorruptExampleError",
        "empty.wav": "EmptyFileError",
        "silent.wav": "EmptyFileError",
        "long.flac": "ExampleTooLargeError",
        "page.mp3": "UnknownFormatError",
    }


def test_a_recording_that_is_too_short_for_the_model_becomes_an_error_row(
    model: tuple[str, sounds.Ear], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/good.wav").write_bytes(encode(tone(1.0)))
    (tmp_path / "in/short.wav").write_bytes(encode(tone(0.01)))
    beam_job.extract(str(tmp_path / "in"), str(tmp_path / "out"), model=model[0], max_error_rate=1, **FRAMES)
    (row,) = error_rows_of(tmp_path / "out").values()
    assert row["message"] == "the model gave no frame for the example, which may be too short for it"


def test_other_examples_are_refused(
    few: Path, folder: Path, windows: tuple[dict[str, str], Call], small_model: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"Expected an input of audio examples, .* found image examples"):
        beam_job.extract(str(few), str(tmp_path / "out"), **windows[0])
    with pytest.raises(InputError, match=r"Expected an input of image examples, .* found audio examples"):
        beam_job.extract(str(folder), str(tmp_path / "out"), **small_model)
    (tmp_path / "sound.bin").write_bytes(encode(tone()))
    (tmp_path / "list.csv").write_text("uri\nsound.bin\n")
    with pytest.raises(InputError, match=r"Expected an input of image examples, .* found audio examples"):
        beam_job.extract(str(tmp_path / "list.csv"), str(tmp_path / "out"), **small_model)
    (tmp_path / "photo.bin").write_bytes(jpeg(photograph()))
    (tmp_path / "list.csv").write_text("uri\nphoto.bin\n")
    with pytest.raises(InputError, match=r"Expected an input of audio examples, .* found image examples"):
        beam_job.extract(str(tmp_path / "list.csv"), str(tmp_path / "out"), **windows[0])
    with pytest.raises(UsageError, match="--audio_hop is for audio examples, and the model takes image examples"):
        beam_job.extract(str(few), str(tmp_path / "out"), audio_hop=1, **small_model)


@pytest.mark.parametrize("dataset", ["extracted", "framed"])
def test_a_head_takes_wav_files_and_the_report_plays_sounds(
    dataset: str, request: pytest.FixtureRequest, folder: Path, tmp_path: Path
) -> None:
    features: Path = request.getfixturevalue(dataset)
    result = beam_job.train_head(str(features), head=str(tmp_path / "head"), hidden=0, epochs=200)
    assert result.input == "audio_bytes"
    assert result.served is not None
    assert (result.served.examples, result.served.refused) == (8, 0)
    assert result.served.largest_difference is not None
    assert result.served.largest_difference < 2e-3  # 16 bits of a sound that had more
    serve = tf.saved_model.load(str(tmp_path / "head/saved_model")).signatures["serving_default"]
    contents = [path.read_bytes() for path in sorted(folder.rglob("*.wav"))]
    together = serve(audio_bytes=tf.constant(contents))["probabilities"].numpy()
    for content, row in zip(contents, together, strict=True):
        np.testing.assert_allclose(serve(audio_bytes=tf.constant([content]))["probabilities"][0], row, rtol=1e-5)
    assert {"high", "low"} == set(result.classes)
    report = beam_job.report(str(features), report=str(tmp_path / "report.html"))
    assert Path(report.report).read_text().count("data:audio/mpeg;base64,") >= COUNT


def test_a_model_of_sounds_is_inspected(model: tuple[str, sounds.Ear], windows: tuple[dict[str, str], Call]) -> None:
    unclear = beam_job.inspect_model(model[0])
    assert unclear.modality == "audio"
    assert set(unclear.outputs) == {"output_0", "output_1", "output_2"}
    assert any("--layer" in sentence for sentence in unclear.needed)
    rateless = beam_job.inspect_model(model[0], layer="output_1:avg")
    assert any("--sample_rate" in sentence for sentence in rateless.needed)
    clear = beam_job.inspect_model(model[0], layer="output_1:avg", sample_rate=RATE)
    assert clear.features == {"feature": (32,)}
    assert not clear.needed


@pytest.mark.parametrize("kind", ["tar", "zip", "parquet"])
def test_sounds_in_containers_give_the_features_of_loose_files(
    folder: Path, model: tuple[str, sounds.Ear], tmp_path: Path, kind: str
) -> None:
    """Sounds of all formats; the table has the schema of datasets, with its own column of sounds."""
    options = {"model": model[0], **FRAMES}
    loose = sorted(path for path in folder.rglob("*") if path.is_file())
    if kind == "parquet":
        features = datasets.Features({"audio": datasets.Audio(), "label": datasets.Value("string")})
        rows = [{"audio": {"bytes": path.read_bytes(), "path": path.name}, "label": path.parent.name} for path in loose]
        parquet.write_table(pa.Table.from_pylist(rows, schema=features.arrow_schema), tmp_path / "set.parquet")
        paths = {f"set.parquet/{number}": path for number, path in enumerate(loose)}
    else:
        shutil.make_archive(str(tmp_path / "set"), kind, folder)
        paths = {f"set.{kind}/{path.relative_to(folder)}": path for path in loose}
    beam_job.extract(str(folder), str(tmp_path / "a"), **options)
    result = beam_job.extract(str(tmp_path / f"set.{kind}"), str(tmp_path / "b"), **options)
    assert result.records == len(loose)
    expected, found = records_of(tmp_path / "a"), records_of(tmp_path / "b")
    assert set(found) == set(paths)
    for name, path in paths.items():
        record = expected[str(path.relative_to(folder))]
        np.testing.assert_array_equal(found[name]["feature"], record["feature"])
        assert found[name]["label"] == record["label"]
