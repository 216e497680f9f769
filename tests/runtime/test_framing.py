import io
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from beam_job.runtime.framing import frame, read_records


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_records_are_read_as_written(records: list[bytes]) -> None:
    assert list(read_records(io.BytesIO(b"".join(map(frame, records))))) == records


def test_bytes_match_tensorflow(tmp_path: Path) -> None:
    records = [b"", b"a", bytes(range(256)) * 50]
    path = str(tmp_path / "by_tensorflow.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for record in records:
            writer.write(record)
    assert Path(path).read_bytes() == b"".join(map(frame, records))


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=4), st.data())
def test_a_flipped_bit_is_detected(records: list[bytes], data: st.DataObject) -> None:
    content = bytearray(b"".join(map(frame, records)))
    index = data.draw(st.integers(0, len(content) - 1))
    content[index] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ValueError, match=r"record \d+ (is|has)"):
        list(read_records(io.BytesIO(content)))


@given(st.binary(min_size=1, max_size=40), st.data())
def test_a_truncated_record_is_detected(record: bytes, data: st.DataObject) -> None:
    content = frame(b"intact") + frame(record)
    end = data.draw(st.integers(len(frame(b"intact")) + 1, len(content) - 1))
    with pytest.raises(ValueError, match="record 1 is truncated"):
        list(read_records(io.BytesIO(content[:end])))
