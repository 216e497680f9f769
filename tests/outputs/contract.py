"""What every shard format must do. A member's test class inherits this and names the format."""

from __future__ import annotations

import dataclasses
import io
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from beam_job.core.labels import LabelKind
from beam_job.core.records import FeatureRecord
from beam_job.outputs.base import RecordSchema, ShardFormat, file_bytes
from beam_job.outputs.registry import SHARD_FORMATS

SHAPES = {"feature/map": (2, 3), "feature/top": (4,)}
SCHEMA = RecordSchema(SHAPES, ["cat", "dog"])
KINDS = {
    LabelKind.CLASS: st.integers(-1, 1),
    LabelKind.MULTI: st.just((-1,)) | st.sets(st.integers(0, 1)).map(lambda found: tuple(sorted(found))),
    LabelKind.TARGET: st.floats(allow_infinity=False, width=32),
}
ids = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40)
finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
records = st.builds(
    lambda example_id, label, first, second: FeatureRecord(
        example_id, label, {"feature/map": first, "feature/top": second}
    ),
    ids,
    st.integers(-1, 1),
    hnp.arrays(np.float32, (2, 3), elements=finite),
    hnp.arrays(np.float32, (4,), elements=finite),
)
lists = st.lists(records, max_size=6)


def lists_of(kind: LabelKind) -> st.SearchStrategy[list[FeatureRecord]]:
    """Records with labels of a kind, and the values of two columns."""
    texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
    fields = st.tuples(records, KINDS[kind], st.tuples(texts, texts))
    return st.lists(fields.map(lambda one: dataclasses.replace(one[0], label=one[1], kept=one[2])), max_size=5)


per_example = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.differing_executors])


def written(shard_format: type[ShardFormat], found: list[FeatureRecord], schema: RecordSchema = SCHEMA) -> bytes:
    """The bytes of a file with these records."""
    file = io.BytesIO()
    writer = shard_format.writer(file, schema)
    for record in found:
        writer.add(record)
    writer.finish()
    return file.getvalue()


class ShardFormatContract:
    """``name``: the format's name in the registry."""

    name: ClassVar[str]

    @property
    def shard_format(self) -> type[ShardFormat]:
        return SHARD_FORMATS.get(self.name)

    @per_example
    @given(lists)
    def test_records_come_back_in_order(self, found: list[FeatureRecord]) -> None:
        content = written(self.shard_format, found)
        again = list(self.shard_format.read(io.BytesIO(content), SCHEMA))
        assert [(record.id, record.label) for record in again] == [(record.id, record.label) for record in found]
        for one, two in zip(found, again, strict=True):
            assert set(one.features) == set(two.features)
            for name, values in one.features.items():
                np.testing.assert_array_equal(two.features[name], values.ravel())
                assert two.features[name].dtype == np.float32

    @per_example
    @given(st.data(), st.sampled_from(LabelKind))
    def test_every_kind_of_label_and_kept_columns_come_back(self, data: st.DataObject, kind: LabelKind) -> None:
        schema, found = RecordSchema(SHAPES, ["cat", "dog"], kind, ["a", "b/c"]), data.draw(lists_of(kind))
        again = list(self.shard_format.read(io.BytesIO(written(self.shard_format, found, schema)), schema))
        assert [(record.id, record.kept) for record in again] == [(record.id, record.kept) for record in found]
        for one, two in zip(found, again, strict=True):
            assert type(one.label) is type(two.label)
            np.testing.assert_array_equal(one.label, two.label)
            assert set(two.features) == set(SHAPES)

    @pytest.mark.parametrize("kind", LabelKind, ids=lambda kind: kind.value)
    def test_tensorflow_loads_every_kind_of_label(self, kind: LabelKind, tmp_path: Path) -> None:
        schema = RecordSchema(SHAPES, ["cat", "dog"], kind, ["a"])
        labels: dict[LabelKind, list[Any]] = {
            LabelKind.CLASS: [0, -1, 1],
            LabelKind.MULTI: [(0, 1), (), (-1,)],
            LabelKind.TARGET: [0.5, math.nan, -1e30],
        }
        features = {name: np.ones(shape, np.float32) for name, shape in SHAPES.items()}
        found = [FeatureRecord(f"{place}", label, features, ("x",)) for place, label in enumerate(labels[kind])]
        path = tmp_path / f"shard{self.shard_format.suffix}"
        path.write_bytes(written(self.shard_format, found, schema))
        loaded = [
            value for batch in self.shard_format.load([str(path)], schema) for value in self._values(batch, kind.field)
        ]
        for one, two in zip(labels[kind], loaded, strict=True):
            np.testing.assert_array_equal(np.asarray(one, np.asarray(two).dtype), two)

    @staticmethod
    def _values(batch: dict[str, Any], field: str) -> list[Any]:
        values = batch[field]
        found = values.to_list() if hasattr(values, "to_list") else list(values.numpy())
        return [np.array(value, np.int64) for value in found] if field == "labels" else found

    @per_example
    @given(lists)
    def test_bytes_depend_on_the_records_alone(self, found: list[FeatureRecord]) -> None:
        assert written(self.shard_format, found) == written(self.shard_format, found)
        assert file_bytes(self.shard_format, found, SCHEMA) == len(written(self.shard_format, found))

    @per_example
    @given(st.lists(records, min_size=1, max_size=4), st.data())
    def test_a_truncated_file_is_found(self, found: list[FeatureRecord], data: st.DataObject) -> None:
        content = written(self.shard_format, found)
        cut = content[: data.draw(st.integers(0, len(content) - 1))]
        try:
            again = list(self.shard_format.read(io.BytesIO(cut), SCHEMA))
        except ValueError:
            return
        # A cut between two records cannot be seen in the file: the receipt has its size and digest.
        assert len(again) < len(found)

    def test_its_suffix_is_its_own(self) -> None:
        suffixes = [SHARD_FORMATS.get(name).suffix for name in SHARD_FORMATS]
        assert self.shard_format.suffix.startswith(".")
        assert suffixes.count(self.shard_format.suffix) == 1

    def test_tensorflow_loads_it(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        found = [
            FeatureRecord(
                str(number),
                number % 3 - 1,
                {
                    "feature/map": np.full((2, 3), number, np.float32),
                    "feature/top": np.arange(4, dtype=np.float32) + number,
                },
            )
            for number in range(600)
        ]
        paths = []
        for place, part in enumerate((found[:350], found[350:])):
            path = tmp_path_factory.mktemp("shards") / f"{place}{self.shard_format.suffix}"
            path.write_bytes(written(self.shard_format, part))
            paths.append(str(path))
        loaded = list(self.shard_format.load(paths, SCHEMA).unbatch().as_numpy_iterator())
        assert [example["label"] for example in loaded] == [record.label for record in found]
        for example, record in zip(loaded, found, strict=True):
            for name, values in record.features.items():
                np.testing.assert_array_equal(example[name], values)
