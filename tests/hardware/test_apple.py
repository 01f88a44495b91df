"""Settings of macOS's kernel, out of a C library made of Python."""

from __future__ import annotations

from typing import Any

from lokal.hardware.apple import sysctl_number, sysctl_text

SETTINGS = {
    b"machdep.cpu.brand_string": b"Apple M3 Pro\0",
    b"hw.perflevel0.physicalcpu": (6).to_bytes(4, "little"),
}


class Libc:
    def sysctlbyname(self, name: bytes, value: Any, size: Any, new: None, new_size: Any) -> int:
        assert new is None
        assert new_size.value == 0
        if name not in SETTINGS:
            return -1
        value[: len(SETTINGS[name])] = SETTINGS[name]
        size[0] = len(SETTINGS[name])
        return 0


def test_a_text_and_a_number() -> None:
    assert sysctl_text("machdep.cpu.brand_string", Libc()) == "Apple M3 Pro"
    assert sysctl_number("hw.perflevel0.physicalcpu", Libc()) == 6


def test_what_is_not_there_is_empty_or_nothing() -> None:
    assert sysctl_text("no.such", Libc()) == ""
    assert sysctl_number("no.such", Libc()) == 0
    assert sysctl_number("no.such", object()) == 0  # on other systems
