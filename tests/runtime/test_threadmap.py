import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_job.runtime import threadmap
from beam_job.runtime.threadmap import batched, map_in_groups, map_in_order

Map = Callable[..., Iterator[Any]]


def recorded(count: int, drawn: list[int]) -> Iterator[int]:
    """Yields the numbers below ``count``, and appends each to ``drawn`` when it is drawn."""
    for number in range(count):
        drawn.append(number)
        yield number


both_maps = pytest.mark.parametrize("map_", [map_in_order, map_in_groups])


@both_maps
@given(st.lists(st.integers()), st.integers(1, 20), st.integers(1, 4))
def test_results_are_in_the_order_of_the_items(map_: Map, items: list[int], in_flight: int, threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        assert list(map_(str, items, pool, in_flight)) == [str(item) for item in items]


@both_maps
@pytest.mark.parametrize("in_flight", [1, 5, 16])
def test_the_number_of_items_drawn_ahead_is_limited(map_: Map, in_flight: int) -> None:
    drawn: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        results = map_(abs, recorded(100, drawn), pool, in_flight)
        for done in range(50):
            next(results)
            assert len(drawn) <= done + 1 + in_flight
        results.close()  # type: ignore[attr-defined]


@both_maps
def test_calls_run_concurrently(map_: Map) -> None:
    barrier = threading.Barrier(3, timeout=30)

    def meet(_: int) -> int:
        return barrier.wait()

    with ThreadPoolExecutor(3) as pool:
        assert sorted(map_(meet, range(3), pool, 3)) == [0, 1, 2]


def test_an_error_is_raised_in_order() -> None:
    def divide(number: int) -> float:
        return 1 / number

    with ThreadPoolExecutor(2) as pool:
        results = map_in_order(divide, [1, 2, 0, 4], pool, 4)
        assert [next(results), next(results)] == [1.0, 0.5]
        with pytest.raises(ZeroDivisionError):
            next(results)


def test_an_error_in_a_group_is_raised() -> None:
    with ThreadPoolExecutor(2) as pool, pytest.raises(ZeroDivisionError):
        list(map_in_groups(lambda number: 1 / number, range(50, -1, -1), pool, 16))


@both_maps
def test_zero_items_in_flight_are_refused(map_: Map) -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="at least 1"):
        next(map_(abs, [1], pool, 0))


@given(st.integers(1, 60), st.sampled_from([0, 1 / 64, 1 / 16, 1 / 4, 1, 8]))
def test_large_results_limit_the_number_in_flight(in_flight: int, weight: float) -> None:
    """Four items may always be in flight, more only as long as their total weight is at most 1."""
    drawn: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        results = map_in_groups(abs, recorded(80, drawn), pool, in_flight, lambda _: weight)
        ahead = [len(drawn) - number for number in results]
    assert len(ahead) == 80
    assert all(count <= in_flight and (count <= 4 or count * weight <= 1) for count in ahead)
    if weight <= 1 / 64:
        assert max(ahead) > in_flight * 3 // 4 - 1


class CountingPool(ThreadPoolExecutor):
    """A pool of one thread that counts its tasks."""

    def __init__(self) -> None:
        super().__init__(1)
        self.tasks = 0

    def submit(self, *arguments: Any, **named: Any) -> Future[Any]:
        self.tasks += 1
        return super().submit(*arguments, **named)


@pytest.mark.parametrize(("seconds", "min_tasks", "max_tasks"), [(0.05, 200, 200), (0.00002, 200 // 8, 200 // 8 + 32)])
def test_slow_calls_get_a_task_each_and_fast_calls_share_tasks(
    seconds: float, min_tasks: int, max_tasks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=0.0)

    def call(number: int) -> int:
        clock.now += seconds
        return number

    monkeypatch.setattr(threadmap, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    with CountingPool() as pool:
        assert list(map_in_groups(call, range(200), pool, 32)) == list(range(200))
    assert min_tasks <= pool.tasks <= max_tasks


@given(st.lists(st.integers()), st.integers(1, 9))
def test_batches_contain_all_items_and_are_full(items: list[int], size: int) -> None:
    batches = list(batched(items, size))
    assert [item for batch in batches for item in batch] == items
    assert all(len(batch) == size for batch in batches[:-1])
