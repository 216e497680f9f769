import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_job.core.errors import InputError
from beam_job.core.options import ShardOptions, SplitFractions
from beam_job.core.records import ImageRef
from beam_job.dataset.labels import LabelVocabulary
from beam_job.extract.layout import SplitPolicy, Tally, make_plan

refs = st.builds(
    ImageRef,
    id=st.text(min_size=1),
    uri=st.just("/a.jpg"),
    label=st.none() | st.sampled_from(["cat", "dog", "horse"]),
    split=st.sampled_from(["train", "test"]),
)


def tally_of(images: list[ImageRef]) -> Tally:
    tally = Tally()
    for image in images:
        tally.add(image)
    return tally


@given(st.lists(refs, min_size=1), st.data())
def test_tallies_add_up_in_any_grouping(images: list[ImageRef], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(images)))
    first, second = tally_of(images[:cut]), tally_of(images[cut:])
    second.merge(first)
    assert second == tally_of(images)


@given(st.lists(refs, min_size=1), st.none() | st.integers(1, 5))
def test_every_ref_belongs_to_one_of_the_planned_shards(images: list[ImageRef], num_shards: int | None) -> None:
    plan = make_plan(tally_of(images), ShardOptions(num_shards=num_shards), None, "input")
    names = set(plan.shard_names())
    assert {plan.shard_of(image) for image in images} <= names
    assert plan.total == len(images)
    assert len(names) == sum(plan.shards.values())
    assert pickle.loads(pickle.dumps(plan)) == plan


def test_the_plan_does_not_depend_on_the_order_of_the_refs() -> None:
    images = [ImageRef(str(number), "/a", label=f"l{number % 3}", split=f"s{number % 2}") for number in range(10)]
    assert make_plan(tally_of(images), ShardOptions(), None, "i") == make_plan(
        tally_of(images[::-1]), ShardOptions(), None, "i"
    )


def test_a_vocabulary_that_is_given_is_kept() -> None:
    given_labels = LabelVocabulary(("dog", "cat"))
    plan = make_plan(tally_of([ImageRef("1", "/a", "cat", "train")]), ShardOptions(), given_labels, "input")
    assert plan.vocabulary == given_labels


def test_an_input_without_images_is_refused() -> None:
    with pytest.raises(InputError, match="Found no image in 'somewhere'"):
        make_plan(Tally(), ShardOptions(), None, "somewhere")


def test_a_split_of_its_own_wins_and_a_group_stays_together() -> None:
    policy = SplitPolicy(SplitFractions((("train", 0.5), ("test", 0.5))), seed=0)
    assert policy.assign(ImageRef("1", "/a", split="held_out")).split == "held_out"
    groups = [{policy.assign(ImageRef(f"{g}-{n}", "/a", group=str(g))).split for n in range(20)} for g in range(20)]
    assert all(len(splits) == 1 for splits in groups)
    assert len({split for splits in groups for split in splits}) == 2
