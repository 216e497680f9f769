from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_job.core import sharding

ids = st.text(min_size=1)  # includes lone surrogates


@given(ids, st.integers(1, 10_000))
def test_a_shard_index_is_in_range_and_stable(example_id: str, count: int) -> None:
    index = sharding.shard_index(example_id, count)
    assert 0 <= index < count
    assert index == sharding.shard_index(example_id, count)


def test_hashes_are_the_same_on_every_machine() -> None:
    # A change of any of these would move the examples of existing datasets to other shards and splits.
    assert sharding.stable_hash("cat/1.jpg") == 3603316962818064594
    assert sharding.shard_index("cat/1.jpg", 1000) == 26
    assert sharding.assign_split("cat/1.jpg", {"train": 0.5, "test": 0.5}) == "train"


def test_splits_approximate_their_fractions() -> None:
    fractions = {"train": 0.8, "validation": 0.1, "test": 0.1}
    counts = Counter(sharding.assign_split(f"{number}.jpg", fractions) for number in range(20_000))
    for name, share in fractions.items():
        assert counts[name] / 20_000 == pytest.approx(share, abs=0.01)


def test_another_seed_assigns_other_splits() -> None:
    fractions = {"a": 0.5, "b": 0.5}
    same = sum(
        sharding.assign_split(str(n), fractions, 0) == sharding.assign_split(str(n), fractions, 1)
        for n in range(10_000)
    )
    assert same / 10_000 == pytest.approx(0.5, abs=0.03)


@given(ids, st.lists(st.integers(1, 100), min_size=1, max_size=6))
def test_every_key_gets_one_of_the_splits(key: str, weights: list[int]) -> None:
    fractions = {f"s{number}": weight / sum(weights) for number, weight in enumerate(weights)}
    assert sharding.assign_split(key, fractions) in fractions


def test_without_fractions_the_split_is_train() -> None:
    assert sharding.assign_split("x", {}) == "train"


@given(st.integers(1, 10**9), st.integers(1, 10_000))
def test_shards_are_neither_too_large_nor_too_many(examples: int, per_shard: int) -> None:
    count = sharding.default_num_shards(examples, per_shard)
    assert 1 <= count <= examples
    assert examples <= count * per_shard


@given(st.lists(ids, unique=True))
def test_the_order_depends_on_the_ids_alone(names: list[str]) -> None:
    by_name = sorted(names)
    assert sorted(names, key=sharding.order_key) == sorted(by_name, key=sharding.order_key)


@pytest.mark.parametrize(
    ("name", "valid"), [("train", True), ("fold_1", True), ("all", False), ("1st", False), ("", False), ("a-b", False)]
)
def test_valid_split_names(name: str, valid: bool) -> None:
    assert sharding.is_split_name(name) is valid
