"""Compare every row of models.toml with the live Hub: `python -m lokal.check_registry [NAME...]`.

Prints what has moved, and exits 1 if anything has. For those who look after models.toml.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache as remembering

from lokal.catalog.check import check
from lokal.catalog.registry import Registry
from lokal.hub.listing import listing


def main(names: Sequence[str]) -> int:
    """Check the models of these names, or all of them."""
    entries = [
        entry
        for entry in Registry.read().entries()  # without what the user has added
        if not names or entry.ref.partition(":")[0] in names
    ]
    moved = 0
    for finding in check(entries, remembering(listing)):
        moved += bool(finding.problems)
        for problem in finding.problems or ("as it was",):
            sys.stdout.write(f"{finding.ref:<24} {finding.repo}: {problem}\n")
            sys.stdout.flush()
    return 1 if moved else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
