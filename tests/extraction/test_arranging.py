from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from beam_job.core.records import Content, ErrorRow, ExampleRef
from beam_job.extraction.arranging import by_length, in_their_order, restored

CONTENTS = st.lists(st.one_of(st.binary(max_size=3), st.none()))


def stream(contents: list[bytes | None]) -> list[Content]:
    refs = [ExampleRef(f"{number}", f"/{number}") for number in range(len(contents))]
    rows = [ErrorRow(ref.id, ref.uri, "read", "ReadError", "no") for ref in refs]
    return [(ref, row if found is None else found) for ref, row, found in zip(refs, rows, contents, strict=True)]


@given(CONTENTS, st.integers(0, 20))
def test_every_example_has_one_place_in_one_task(contents: list[bytes | None], window: int) -> None:
    given = stream(contents)
    for tasks in (list(in_their_order(given)), list(by_length(given, window))):
        placed = {place: (ref, task.content) for task in tasks for place, ref in task.examples}
        assert [placed[place] for place in range(len(given))] == given
        assert sum(len(task.examples) for task in tasks) == len(given)


@given(CONTENTS)
def test_a_content_is_one_task_and_the_longest_is_the_first(contents: list[bytes | None]) -> None:
    tasks = [task.content for task in by_length(stream(contents)) if isinstance(task.content, bytes)]
    assert len(tasks) == len(set(tasks)) == len({content for content in contents if content is not None})
    assert [len(content) for content in tasks] == sorted((len(content) for content in tasks), reverse=True)


@given(st.permutations(range(20)), st.integers(1, 5))
def test_what_comes_in_any_order_goes_in_that_of_its_places(places: list[int], seed: int) -> None:
    drawn = iter(random.Random(seed).sample(range(1000), len(places)))
    values = {place: next(drawn) for place in places}
    assert list(restored((place, values[place]) for place in places)) == [values[place] for place in range(20)]
