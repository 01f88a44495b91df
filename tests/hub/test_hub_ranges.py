"""The bookkeeping of ranges, against plain sets of numbers."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lokal.hub.ranges import Ranges, Span

SIZE = 40
spans = st.tuples(st.integers(0, SIZE), st.integers(0, SIZE))
steps = st.lists(st.tuples(st.sampled_from(["add", "remove"]), spans), max_size=20)


def numbers(start: int, stop: int) -> set[int]:
    return set(range(start, stop))


@given(steps, spans)
def test_ranges_are_sets_of_numbers(steps: list[tuple[str, tuple[int, int]]], window: Span) -> None:
    ranges, model = Ranges(), set[int]()
    for step, (start, stop) in steps:
        if step == "add":
            ranges.add(start, stop)
            model |= numbers(start, stop)
        else:
            ranges.remove(start, stop)
            model -= numbers(start, stop)
    assert set().union(*(numbers(*span) for span in ranges.spans)) == model
    assert ranges.total == len(model)
    assert all(start < stop for start, stop in ranges.spans)
    assert all(one.stop < other.start for one, other in pairwise(ranges.spans))

    start, stop = window
    gaps = list(ranges.gaps(stop, start))
    assert set().union(*(numbers(*gap) for gap in gaps)) == numbers(start, stop) - model
    assert all(gap.size > 0 for gap in gaps)
    assert gaps == sorted(gaps)
    assert ranges.first_gap(stop, start) == (gaps[0] if gaps else None)


@given(steps)
def test_the_spans_alone_are_enough_to_go_on_from(
    steps: list[tuple[str, tuple[int, int]]],
) -> None:
    ranges = Ranges(span for step, span in steps if step == "add")
    assert Ranges(ranges.spans).spans == ranges.spans
