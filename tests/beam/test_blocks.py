"""Blocks of refs: no ref is lost, whatever its name, and few are held in memory."""

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from beam_job.beam import blocks
from beam_job.core.records import ExampleRef

texts = st.text() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape"))
optional = st.none() | texts
any_refs = st.builds(ExampleRef, texts.filter(bool), texts, optional, optional, optional, texts, optional)


@given(st.lists(any_refs))
def test_any_refs_can_be_packed_and_unpacked(refs: list[ExampleRef]) -> None:
    assert blocks.unpack(blocks.pack(refs)) == refs


@given(st.lists(st.lists(any_refs, max_size=6), max_size=6), st.integers(1, 8))
def test_grouping_loses_no_ref_and_holds_few(parts: list[list[ExampleRef]], held: int) -> None:
    def key(ref: ExampleRef) -> int:
        return len(ref.id) % 3

    grouper: blocks.Grouper[int] = blocks.Grouper(held)
    found: defaultdict[int, list[ExampleRef]] = defaultdict(list)
    added = 0
    for part in parts:
        added += len(part)
        for name, block in grouper.add(part, key):
            found[name] += blocks.unpack(block)
        assert added - sum(map(len, found.values())) < held
    for name, block in grouper.rest():
        found[name] += blocks.unpack(block)
    assert Counter(ref for refs in found.values() for ref in refs) == Counter(ref for part in parts for ref in part)
    assert all(key(ref) == name for name, refs in found.items() for ref in refs)
    assert list(grouper.rest()) == []


def test_a_block_takes_a_tenth_of_the_memory_of_its_refs() -> None:
    refs = [
        ExampleRef(f"class-{number % 10}/{number:08}.jpg", f"/data/photos/class-{number % 10}/{number:08}.jpg")
        for number in range(blocks.BLOCK_REFS)
    ]
    assert len(blocks.pack(refs)) < 40 * len(refs)
