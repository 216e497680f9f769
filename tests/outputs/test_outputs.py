"""Every shard format keeps the contract. tests/dataset/test_reading.py reads complete datasets with other readers."""

from __future__ import annotations

from beam_job.outputs.registry import SHARD_FORMATS
from beam_job.outputs.selection import all_suffixes, chosen_formats
from tests.outputs.contract import ShardFormatContract


class TestTFRecord(ShardFormatContract):
    name = "tfrecord"


def test_every_shard_format_keeps_the_contract() -> None:
    assert {contract.name for contract in ShardFormatContract.__subclasses__()} >= set(SHARD_FORMATS)


def test_the_default_format_is_the_first() -> None:
    assert chosen_formats(()) == ("tfrecord",)
    assert chosen_formats(("parquet",)) == ("parquet",)
    assert all_suffixes() == (".tfrecord",)
