"""A bag gives back what was put in, each record once."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from lokal.batch.bag import Bag

records = st.binary(min_size=3, max_size=3) | st.sampled_from([b"aaa", b"aab", b"aba", b"baa"])
steps = st.lists(st.tuples(st.booleans(), records, st.integers(1, 3)))


@given(steps)
def test_it_is_a_multiset_that_is_asked_by_beginnings(steps: list[tuple[bool, bytes, int]]) -> None:
    bag, model = Bag(3), Counter[bytes]()
    for add, record, length in steps:
        fitting = sorted(r for r in model.elements() if r.startswith(record[:length]))
        assert bag.starting(record[:length], 2) == fitting[:2]
        if add:
            bag.add(record)
            model[record] += 1
        else:
            taken = bag.take(record[:length])
            assert taken == (fitting[0] if fitting else None)
            if taken:
                model[taken] -= 1
    assert Counter(bag) == +model
    assert len(bag) == model.total()
