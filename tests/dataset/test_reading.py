"""Our output, unmodified, in other readers."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

import beam_job
from beam_job.core import naming
from beam_job.core.errors import InputError
from tests.support.datasets import records_of


@pytest.fixture(scope="module")
def expected(dataset: Path) -> dict[str, dict[str, object]]:
    return records_of(dataset)


def test_tensorflow_datasets_reads_the_dataset(dataset: Path, expected: dict[str, dict[str, object]]) -> None:
    builder = tfds.builder_from_directory(str(dataset))
    assert set(builder.info.splits) == {"train", "validation", "test"}
    assert builder.info.features["feature"].shape == (1280,)
    assert builder.info.features["label"].names == (dataset / naming.LABELS).read_text().splitlines()
    assert builder.info.supervised_keys == ("feature", "label")
    seen = 0
    for split in builder.info.splits:
        for example in builder.as_dataset(split=split).as_numpy_iterator():
            record = expected[example["id"].decode()]
            np.testing.assert_array_equal(example["feature"], record["feature"])
            assert (example["label"], split) == (record["label"], record["split"])
            seen += 1
    assert seen == len(expected) == sum(split.num_examples for split in builder.info.splits.values())


def test_tensorflow_datasets_reads_pairs_and_slices(dataset: Path) -> None:
    builder = tfds.builder_from_directory(str(dataset))
    features, labels = next(iter(builder.as_dataset(split="train[:50%]", as_supervised=True).batch(16)))
    assert (features.shape, labels.shape) == ((16, 1280), (16,))


def test_the_tfx_schema_parses_the_examples(dataset: Path, expected: dict[str, dict[str, object]]) -> None:
    schema = text_format.Parse((dataset / naming.SCHEMA).read_text(), schema_pb2.Schema())
    kinds = {schema_pb2.FLOAT: tf.float32, schema_pb2.INT: tf.int64, schema_pb2.BYTES: tf.string}
    spec = {
        feature.name: tf.io.FixedLenFeature([dim.size for dim in feature.shape.dim], kinds[feature.type])
        for feature in schema.feature
    }
    assert set(spec) == {"feature", "id", "label"}
    files = sorted(str(path) for path in dataset.glob("*.tfrecord"))
    records = tf.data.TFRecordDataset(files).batch(64).map(lambda batch: tf.io.parse_example(batch, spec))
    ids = [example_id for batch in records for example_id in batch["id"].numpy().ravel()]
    assert sorted(example_id.decode() for example_id in ids) == sorted(expected)
    (label,) = [feature for feature in schema.feature if feature.name == "label"]
    assert (label.int_domain.min, label.int_domain.max, label.int_domain.is_categorical) == (-1, 11, True)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_load_features_is_ready_to_batch(dataset: Path, expected: dict[str, dict[str, object]], split: str) -> None:
    loaded = beam_job.load_features(str(dataset), split)
    count = sum(record["split"] == split for record in expected.values())
    assert loaded.cardinality() == count
    pairs = list(loaded.as_numpy_iterator())
    assert len(pairs) == count
    by_value = {record["feature"].tobytes(): record["label"] for record in expected.values()}  # type: ignore[attr-defined]
    assert all(by_value[feature.tobytes()] == label for feature, label in pairs)
    repeated = list(loaded.as_numpy_iterator())
    assert all(np.array_equal(one[0], two[0]) for one, two in zip(pairs, repeated, strict=True))


def test_a_head_trains_on_the_dataset(dataset: Path) -> None:
    train = beam_job.load_features(str(dataset), "train").shuffle(1000, seed=0).batch(64)
    test = beam_job.load_features(str(dataset), "test").batch(64)
    head = tf.keras.Sequential([tf.keras.layers.Dense(12)])
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    head.compile("adam", loss, metrics=["accuracy"])
    head.fit(train, epochs=4, verbose=0)
    _, accuracy = head.evaluate(test, verbose=0)
    assert accuracy > 0.9


def test_several_layers_are_read_by_name_and_shape(few: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    layers = ["default", "logits", "efficientnet_lite0_1/head_bn_relu6_1/Relu6:max"]
    result = beam_job.extract(str(few), output, layer=layers)
    top = "efficientnet_lite0_1_head_bn_relu6_1_Relu6"
    shapes = {"default": (1280,), "logits": (1000,), top: (1280,)}
    assert result.features == {f"feature/{name}": shape for name, shape in shapes.items()}
    loaded = {name: values.shape for name, values in next(iter(beam_job.load_features(output)))[0].items()}
    assert loaded == shapes
    builder = tfds.builder_from_directory(output)
    example = next(iter(builder.as_dataset(split="train").as_numpy_iterator()))
    assert {name: values.shape for name, values in example["feature"].items()} == shapes
    assert (example["feature"]["default"] <= example["feature"][top]).all()  # a mean is at most the maximum
    schema = text_format.Parse((tmp_path / "out" / naming.SCHEMA).read_text(), schema_pb2.Schema())
    assert {feature.name for feature in schema.feature} == {"id", "label", *(f"feature/{name}" for name in shapes)}


def test_a_map_keeps_its_shape(few: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    beam_job.extract(str(few), output, model="keras:MobileNetV2", weights="none", image_size=96)
    assert beam_job.load_features(output).element_spec[0].shape == (3, 3, 1280)
    example = next(iter(tfds.builder_from_directory(output).as_dataset(split="train").as_numpy_iterator()))
    assert example["feature"].shape == (3, 3, 1280)


def test_a_missing_dataset_or_split_is_reported_in_one_sentence(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no complete dataset at"):
        beam_job.load_features(str(tmp_path))
    with pytest.raises(
        InputError, match=r"has no split 'tests'; did you mean 'test'\? \(splits: test, train, validation\)"
    ):
        beam_job.load_features(str(dataset), "tests")
