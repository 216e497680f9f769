"""Tests of TFRecord files as an input: which feature is what, and what becomes of damaged ones."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from beam_job.core.errors import InputError
from beam_job.core.records import ErrorRow
from beam_job.dataset.originals import example_files
from beam_job.inputs.base import Columns, Container
from beam_job.inputs.containers.example_proto import parse_example
from beam_job.inputs.selection import open_source
from beam_job.modalities.text.modality import TextModality
from beam_job.runtime.framing import frame
from tests.inputs.container_contract import ContainerContract, Found, read
from tests.inputs.contract import IMAGES
from tests.support.damage import DAMAGES_OF_CONTAINERS, damaged
from tests.support.images import photograph
from tests.support.tfrecords import example

ROWS = [("a/1.jpg", b"one"), ("b/2.png", b"two"), ("b/3.jpg", b"three")]


def write(path: Path, records: Iterable[bytes], compression: str = "") -> Path:
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for record in records:
            writer.write(record)
    return path


def container(path: Path | str, **columns: Any) -> Container:
    source = open_source(str(path), Columns(**columns))
    assert isinstance(source, Container)
    return source


def labels(found: Found) -> list[str | None]:
    return [ref.label for ref, _ in found]


def messages(found: Found) -> list[str]:
    return [row.message for _, row in found if isinstance(row, ErrorRow)]


class TestTFRecord(ContainerContract):
    @pytest.fixture(params=["", "GZIP"], ids=["plain", "gzip"])
    def path(self, request: pytest.FixtureRequest, tmp_path: Path) -> str:
        records = [example(image__encoded=content, image__filename=name) for name, content in ROWS]
        compression: str = request.param
        return str(write(tmp_path / "train-00000-of-00001", records, compression))

    @pytest.fixture
    def source(self, path: str) -> Container:
        return container(path, id_column="image/filename")

    def test_examples_have_their_contents(self, source: Container) -> None:
        assert {ref.id: content for ref, content in read(source)} == dict(ROWS)

    def test_without_contents_the_refs_are_the_same(self, source: Container) -> None:
        assert [ref for ref, _ in read(source, contents=False)] == [ref for ref, _ in read(source)]


def test_records_of_the_builder_of_imagenet(tmp_path: Path) -> None:
    records = [
        example(
            image__encoded=b"one", image__class__label=7, image__class__text="cock", image__object__bbox__xmin=[0.5]
        ),
        example(image__encoded=b"two", image__class__label=1000, image__class__text="toilet tissue"),
    ]
    for name in ("train-00000-of-00002", "validation-00000-of-00002"):
        write(tmp_path / name, records)
    source = container(tmp_path)
    assert labels(read(source))[:2] == ["7", "1000"]
    assert [piece.split for piece in source.pieces()] == ["train", "validation"]
    assert labels(read(container(tmp_path, label_column="image/class/text")))[:2] == ["cock", "toilet tissue"]
    assert [ref.id for ref, _ in read(source)][:2] == ["train-00000-of-00002/0", "train-00000-of-00002/1"]


def test_a_data_set_of_tfds(tmp_path: Path) -> None:
    class Photographs(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
        """Three photographs."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=["dog", "cat"])}
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, _: Any) -> Any:
            return {"train": self._generate_examples(2), "test": self._generate_examples(1)}

        def _generate_examples(self, count: int = 1) -> Any:
            for number in range(count):
                pixels = (photograph(20, 30, number)).astype(np.uint8)
                yield number, {"image": pixels, "label": number % 2}

    builder = Photographs(data_dir=str(tmp_path))
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    source = container(builder.data_dir)
    assert source.vocabulary() == ["dog", "cat"]
    assert {piece.split for piece in source.pieces()} == {"train", "test"}
    found = read(source)
    assert sorted(str(label) for label in labels(found)) == ["cat", "dog", "dog"]
    expected = {
        data["image"].tobytes() for split in ("train", "test") for data in tfds.as_numpy(builder.as_dataset(split))
    }
    decoded = {tf.io.decode_image(content).numpy().tobytes() for _, content in found if isinstance(content, bytes)}
    assert decoded == expected


def test_what_makes_no_sense_is_a_row(tmp_path: Path) -> None:
    records = [
        example(image=b"one", label=[0.5, 1.5]),
        example(image=[b"one", b"two"]),
        example(label=1),
        b"\xff\xff\xff",
        example(image=b"good", label=[1, 2]),  # may be a list of classes
        example(image=b"good", label="x"),
    ]
    found = read(container(write(tmp_path / "0.tfrecord", records)))
    assert messages(found) == [
        "expected a list of texts or integers as label, found [0.5, 1.5]",
        "expected one value of image, found 2; lists are not read",
        "expected bytes in a feature, found None",
        "expected a tf.train.Example, found another record",
    ]
    assert found[-1][1] == b"good"


def test_features_that_cannot_be_told_end_the_launch(tmp_path: Path) -> None:
    write(tmp_path / "0.tfrecord", [example(picture=b"x", size=3)])
    with pytest.raises(InputError, match="found picture, size; name it with --image_column"):
        container(tmp_path / "0.tfrecord").check_examples(IMAGES)
    container(tmp_path / "0.tfrecord", image_column="picture").check_examples(IMAGES)
    write(tmp_path / "1.tfrecord", [b"no example"])
    with pytest.raises(InputError, match=r"Expected tf.train.Examples"):
        container(tmp_path / "1.tfrecord").check_examples(IMAGES)


def test_texts(tmp_path: Path) -> None:
    path = write(tmp_path / "0.tfrecord.gz", [example(text="ä cat", label="cat")], "GZIP")
    source = container(path)
    found = [entry for piece in source.pieces() for entry in source.members(piece, example_files(TextModality))]
    assert [(ref.label, content) for ref, content in found] == [("cat", "ä cat".encode())]


def test_messages_are_parsed_as_tensorflow_does(tmp_path: Path) -> None:
    rng = random.Random(0)
    for _ in range(50):
        values: dict[str, Any] = {
            f"f{number}": rng.choice(
                [
                    [rng.randbytes(rng.randrange(20)) for _ in range(rng.randrange(1, 4))],
                    [rng.randrange(-(2**63), 2**63) for _ in range(rng.randrange(1, 4))],
                    [float(np.float32(rng.random())) for _ in range(rng.randrange(1, 4))],
                ]
            )
            for number in range(rng.randrange(5))
        }
        assert parse_example(example(**values)) == values


def test_a_damaged_record_costs_itself(tmp_path: Path) -> None:
    frames = [frame(example(image=bytes([number]) * 3000, label=number)) for number in range(5)]
    content = bytearray(b"".join(frames))
    content[len(frames[0]) + 500] ^= 1  # the data of the second one
    content[sum(map(len, frames[:3])) + 1] ^= 1  # the length of the fourth one
    (tmp_path / "0.tfrecord").write_bytes(content)
    found = read(container(tmp_path / "0.tfrecord"))
    assert [label for label in labels(found) if label] == ["0", "2", "4"]
    assert [message.partition(": ")[2] for message in messages(found)] == [
        "the checksum of record 1 is wrong",
        f"the length of record 3 is damaged, and {len(frames[3])} bytes were skipped",
    ]


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
def test_damaged_tfrecord_files_give_rows(tmp_path: Path, compressed: bool) -> None:
    contents = [random.Random(number).randbytes(300) for number in range(20)]
    whole = b"".join(frame(example(image=content, label=number % 3)) for number, content in enumerate(contents))
    whole = gzip.compress(whole) if compressed else whole
    rng, path = random.Random(0), tmp_path / ("0.tfrecord.gz" if compressed else "0.tfrecord")
    for number in range(2000):
        data = damaged(whole, rng, DAMAGES_OF_CONTAINERS)
        path.write_bytes(data)
        found = read(container(path))
        ids = [ref.id for ref, _ in found]
        assert len(set(ids)) == len(ids), number
        good = {content for _, content in found if isinstance(content, bytes)}
        assert good <= set(contents), number
        assert len(good) == 20 or messages(found) or len(data) < len(whole), number


def test_the_label_is_in_one_feature(tmp_path: Path) -> None:
    """Not in another one where a record lacks it; and with names of classes, in the one that they are of."""
    records = [example(image=b"one", label=1), example(image=b"two", category="x"), example(image=b"three", label=2)]
    found = read(container(write(tmp_path / "0.tfrecord", records)))
    assert labels(found) == ["1", None, "2"]
    assert messages(found) == ["expected the label in label, as in the records before, found category"]
    folder = tmp_path / "described"
    folder.mkdir()
    write(folder / "set-train.tfrecord-00000-of-00001", [example(image=b"one", label=2, category=0)])
    feature = {"pythonClassName": "tensorflow_datasets.core.features.class_label_feature.ClassLabel"}
    content = {"featuresDict": {"features": {"category": feature, "label": {"pythonClassName": "x.Tensor"}}}}
    (folder / "features.json").write_text(json.dumps(content))
    (folder / "category.labels.txt").write_text("cat\ndog\nfox\n")
    assert labels(read(container(folder))) == ["cat"]
