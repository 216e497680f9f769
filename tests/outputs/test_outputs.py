from beam_job.outputs import base
from beam_job.outputs.registry import SHARD_FORMATS
from tests.outputs.contract import ShardFormatContract
from tests.outputs.tfrecord.test_format import TestTFRecord


def test_every_shard_format_keeps_the_contract() -> None:
    assert {TestTFRecord.name} == set(SHARD_FORMATS)
    assert issubclass(TestTFRecord, ShardFormatContract)


def test_the_default_format_is_the_first() -> None:
    assert base.chosen_formats(()) == ("tfrecord",)
    assert base.chosen_formats(("parquet",)) == ("parquet",)
    assert base.all_suffixes() == (".tfrecord",)
