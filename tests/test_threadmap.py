import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_job.threadmap import batched, map_in_order


@given(st.lists(st.integers()), st.integers(1, 5), st.integers(1, 4))
def test_results_come_in_the_order_of_the_items(items: list[int], in_flight: int, threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        assert list(map_in_order(str, items, pool, in_flight)) == [str(item) for item in items]


def test_items_are_drawn_no_further_ahead_than_allowed() -> None:
    drawn: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            drawn.append(number)
            yield number

    with ThreadPoolExecutor(2) as pool:
        results = map_in_order(abs, items(), pool, 5)
        for done in range(50):
            next(results)
            assert len(drawn) <= done + 1 + 5
        results.close()  # type: ignore[attr-defined]


def test_calls_run_side_by_side() -> None:
    barrier = threading.Barrier(3, timeout=30)

    def meet(_: int) -> int:
        return barrier.wait()

    with ThreadPoolExecutor(3) as pool:
        assert sorted(map_in_order(meet, range(3), pool, 3)) == [0, 1, 2]


def test_an_error_is_raised_at_its_turn() -> None:
    def divide(number: int) -> float:
        return 1 / number

    with ThreadPoolExecutor(2) as pool:
        results = map_in_order(divide, [1, 2, 0, 4], pool, 4)
        assert [next(results), next(results)] == [1.0, 0.5]
        with pytest.raises(ZeroDivisionError):
            next(results)


def test_nothing_in_flight_is_refused() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="at least 1"):
        next(map_in_order(abs, [1], pool, 0))


@given(st.lists(st.integers()), st.integers(1, 9))
def test_batches_hold_all_items_and_are_full(items: list[int], size: int) -> None:
    batches = list(batched(items, size))
    assert [item for batch in batches for item in batch] == items
    assert all(len(batch) == size for batch in batches[:-1])
