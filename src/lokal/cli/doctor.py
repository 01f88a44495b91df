"""`llm doctor`: is everything here as it should be?"""

from __future__ import annotations

import sys

from lokal.cli import options as opt
from lokal.cli.output import note, show_traceback, visible, write_json, write_lines

_COLORS = {"ok": 32, "note": 36, "warning": 33, "failure": 31}


def doctor(
    offline: opt.Offline = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
) -> int:
    """Look at this machine and this installation; exit 0 unless something fails."""
    from lokal import settings
    from lokal.cli.app import check_config
    from lokal.doctor.doctor import Examination

    # What is wrong with config.toml is one of the findings.
    surroundings = settings.load(offline=offline, config=False)
    colored = sys.stdout is not None and sys.stdout.isatty() and not surroundings.no_color
    examination = Examination(
        surroundings,
        say=_nothing if quiet else note,
        check_config=check_config,
        broken=show_traceback if debug else _nothing,
    )
    found = []
    for finding in examination.findings():
        found.append(finding)
        if not json:
            mark = f"{finding.state:<9}"
            if colored:
                mark = f"\x1b[{_COLORS[finding.state]}m{mark}\x1b[0m"
            lines = [f"{mark}{visible(f'{finding.name}: {finding.message}')}"]
            if finding.hint:
                lines.append(visible(f"{'hint:':<9}{finding.hint}"))
            write_lines(lines)
    if json:
        write_json({**examination.facts, "checks": [finding.as_dict() for finding in found]})
    return next((finding.exit_code for finding in found if finding.state == "failure"), 0)


def _nothing(_: object) -> None:
    pass
