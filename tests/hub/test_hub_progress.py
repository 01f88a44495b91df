"""How huggingface_hub's counting reaches a progress object."""

from __future__ import annotations

from types import SimpleNamespace

from huggingface_hub.utils._xet_progress_reporting import XetDownloadProgressReporter

from lokal.hub.progress import Progress, bar_for


class Recorder(Progress):
    def __init__(self) -> None:
        self.seen: list[int] = []

    def at(self, done: int) -> None:
        self.seen.append(done)


def test_xet_downloads_report_what_is_received_or_written_whichever_is_more() -> None:
    """Drives the library's own reporter, so that a change of its protocol shows."""
    recorder = Recorder()
    with XetDownloadProgressReporter(
        reconstruction_desc="x", total=100, log_level=0, tqdm_class=bar_for(recorder)
    ) as reporter:
        for received, written in [(30, 0), (60, 50), (90, 95), (120, 95), (120, 100)]:
            reporter.update_progress(
                SimpleNamespace(
                    total_bytes_completed=written,
                    total_transfer_bytes_completed=received,
                    total_bytes=100,
                    total_bytes_completion_rate=1.0,
                    total_transfer_bytes_completion_rate=1.0,
                )
            )
    assert recorder.seen[0] == 30
    assert recorder.seen == sorted(recorder.seen)
    assert recorder.seen[-1] == 100


def test_a_restart_counts_down() -> None:
    recorder = Recorder()
    bar = bar_for(recorder)(total=10)
    bar.update(8)
    bar.update(-8)
    assert recorder.seen == [8, 0]
