import io
import itertools
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from beam_job.runtime.framing import DamagedRecord, frame, read_records, salvaged_records


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


def parts_of(content: bytes, cuts: set[int]) -> list[tuple[int, bytes | DamagedRecord]]:
    """What is found in the parts of a file that is cut there, each read by itself."""
    ends = sorted({0, *cuts, len(content)})
    found: list[tuple[int, bytes | DamagedRecord]] = []
    for start, end in itertools.pairwise(ends):
        file = io.BytesIO(content)
        file.seek(start)
        found += salvaged_records(file, (start, end))
    return found


records_of_a_file = st.lists(st.binary(max_size=60), min_size=1, max_size=12)


@given(records_of_a_file, st.data())
def test_a_file_may_be_cut_anywhere(records: list[bytes], data: st.DataObject) -> None:
    content = b"".join(map(frame, records))
    cuts = data.draw(st.sets(st.integers(1, len(content) - 1), max_size=5))
    found = parts_of(content, cuts)
    assert [record for _, record in found] == records
    assert found == list(salvaged_records(io.BytesIO(content)))


@given(records_of_a_file, st.data())
def test_what_is_damaged_in_parts_is_told(records: list[bytes], data: st.DataObject) -> None:
    """Every record is found or told as damaged, whichever bytes are wrong and wherever the file is cut."""
    content = bytearray(b"".join(map(frame, records)))
    for place in data.draw(st.sets(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    cuts = data.draw(st.sets(st.integers(1, len(content) - 1), max_size=4))
    found = parts_of(bytes(content), cuts)
    good = [record for _, record in found if isinstance(record, bytes)]
    assert len(good) < len(records) or not any(isinstance(record, DamagedRecord) for _, record in found)
    assert any(isinstance(record, DamagedRecord) for _, record in found)
    places = [place for place, record in found if isinstance(record, bytes)]
    assert places == sorted(set(places))
    left = iter(records)
    assert all(any(record == one for one in left) for record in good), "in their order, none twice"
