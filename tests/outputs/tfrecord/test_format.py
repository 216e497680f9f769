"""TFRecord as a shard format. Other readers read whole datasets of it in tests/dataset/test_reading.py."""

from __future__ import annotations

from tests.outputs.contract import ShardFormatContract


class TestTFRecord(ShardFormatContract):
    name = "tfrecord"
