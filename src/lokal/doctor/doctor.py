"""All checks, in the order in which one thing depends on another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from lokal.doctor import cache, machine, network, selftest
from lokal.doctor.child import ChildError
from lokal.doctor.finding import Finding, bounded, failure
from lokal.doctor.probe import Native, native, shown
from lokal.doctor.versions import check_versions, versions
from lokal.settings import Settings

_SECONDS = 20.0  # for a check; the Hub's two requests get 8 each


class Examination:
    """Findings as they come; afterwards `facts` has what they are about.

    `say` tells that the Hub is asked. `check_config` raises UsageError where config.toml sets what
    no command knows. `broken` is given what a check should not have raised.
    """

    def __init__(
        self,
        settings: Settings,
        say: Callable[[str], object],
        check_config: Callable[[], object],
        broken: Callable[[Exception], object],
    ) -> None:
        self._settings, self._say, self._check_config = settings, say, check_config
        self._broken = broken
        self.facts: dict[str, Any] = {"versions": versions(), "build": None, "devices": []}

    def findings(self) -> Iterator[Finding]:
        """Look at everything; nothing raises, and nothing is waited for without end."""
        settings = self._settings
        yield from self._bounded("versions", check_versions)
        found: Native | None = None
        try:
            found = native()
        except ChildError as error:
            yield failure("build", f"llama.cpp: {error.message}", error.hint, error.exit_code)
        else:
            self.facts["versions"]["llama.cpp"] = found.version
            self.facts["build"] = found.build()
            self.facts["devices"] = [shown(device) for device in found.devices]
            yield from self._bounded("build", partial(machine.check_build, found))
            yield from self._bounded("devices", partial(machine.check_devices, found))
        yield from self._bounded("cpu", machine.check_host)
        if "llama-cpp-python" in self.facts["versions"]:
            yield from self._bounded("gpu", partial(machine.check_gpus, found))
        own = partial(cache.check_settings, settings, self._check_config)
        yield from self._bounded("settings", own)
        yield from self._bounded("cache", cache.check_cache)
        yield from self._bounded("disk", cache.check_disk)
        yield from self._bounded("hub", partial(network.check_hub, settings, self._say))
        if found:
            yield from selftest.check_devices([gpu.name for gpu in found.gpus])

    def _bounded(self, name: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
        return bounded(name, check, _SECONDS, self._broken)
