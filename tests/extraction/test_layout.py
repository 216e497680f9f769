import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_job.core.errors import InputError
from beam_job.core.options import ShardOptions
from beam_job.core.records import ExampleRef
from beam_job.core.values import SplitFractions
from beam_job.dataset.labels import Numbering
from beam_job.extraction.layout import Tally, make_layout
from beam_job.extraction.policy import RefPolicy

any_ref = st.builds(
    ExampleRef,
    id=st.text(min_size=1),
    uri=st.just("/a.jpg"),
    label=st.none() | st.sampled_from(["cat", "dog", "horse"]),
    split=st.sampled_from(["train", "test"]),
)


def tally_of(refs: list[ExampleRef]) -> Tally:
    tally = Tally()
    for ref in refs:
        tally.add(ref)
    return tally


@given(st.lists(any_ref, min_size=1), st.data())
def test_tallies_can_be_merged_in_any_grouping(refs: list[ExampleRef], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(refs)))
    first, second = tally_of(refs[:cut]), tally_of(refs[cut:])
    second.merge(first)
    assert second == tally_of(refs)


@given(st.lists(any_ref, min_size=1), st.none() | st.integers(1, 5))
def test_every_ref_belongs_to_one_of_the_shards(refs: list[ExampleRef], num_shards: int | None) -> None:
    layout = make_layout(tally_of(refs), ShardOptions(num_shards=num_shards), Numbering(), "input")
    names = set(layout.shard_names())
    assert {layout.shard_of(ref) for ref in refs} <= names
    assert layout.total == len(refs)
    assert len(names) == sum(layout.shards.values())
    assert pickle.loads(pickle.dumps(layout)) == layout


def test_the_layout_does_not_depend_on_the_order_of_the_refs() -> None:
    refs = [ExampleRef(str(number), "/a", label=f"l{number % 3}", split=f"s{number % 2}") for number in range(10)]
    assert make_layout(tally_of(refs), ShardOptions(), Numbering(), "i") == make_layout(
        tally_of(refs[::-1]), ShardOptions(), Numbering(), "i"
    )


def test_a_given_vocabulary_is_kept() -> None:
    given_labels = Numbering(given=("dog", "cat"))
    layout = make_layout(tally_of([ExampleRef("1", "/a", "cat", "train")]), ShardOptions(), given_labels, "input")
    assert layout.vocabulary.names == ("dog", "cat")


def test_an_input_without_examples_is_refused() -> None:
    with pytest.raises(InputError, match="Found no example in 'somewhere'"):
        make_layout(Tally(), ShardOptions(), Numbering(), "somewhere")


def test_an_explicit_split_takes_precedence_and_a_group_stays_together() -> None:
    policy = RefPolicy(SplitFractions((("train", 0.5), ("test", 0.5))), seed=0)
    assert policy.assign(ExampleRef("1", "/a", split="held_out")).split == "held_out"
    groups = [{policy.assign(ExampleRef(f"{g}-{n}", "/a", group=str(g))).split for n in range(20)} for g in range(20)]
    assert all(len(splits) == 1 for splits in groups)
    assert len({split for splits in groups for split in splits}) == 2
