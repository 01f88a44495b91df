"""Every failure a user can meet, as a tree.

    LokalError                 base; never raised itself
    ├── UsageError             2   the command line or a request asks for something impossible
    │   ├── RefusedError           the chat template does not take these messages
    │   └── ConstraintError        a schema or grammar does not compile, or is too complex
    ├── ModelNameError         3   no such model, variant or quantization
    │   └── AmbiguousError         several sets of weights fit
    ├── AccessError            4   gated or private weights, or an invalid token
    ├── OfflineError           5   the network is needed but forbidden or switched off
    ├── SpaceError             6   not enough disk or memory
    ├── IntegrityError         7   a file's size or checksum is wrong
    ├── NetworkError           8   the network failed, retries included
    ├── ContextError           9   the prompt does not fit the context
    ├── LengthError           10   stopped at the token limit, under --fail-on-length
    │   └── IncompleteError        the answer ended before it matched its schema or grammar
    ├── BatchError            11   rows of a batch failed
    ├── LoadError             12   the file is no model that llama.cpp can load
    │   ├── ArchitectureError      llama.cpp knows the file format, not the architecture
    │   ├── LayoutError            an obsolete tensor layout (one tensor per expert)
    │   └── DamagedFileError       not a GGUF file, or a truncated one
    └── GpuError              13   no GPU was used, under --require-gpu

The number is the exit code of `llm`. `code` is stable, and what scripts see under `--json`.
"""

from __future__ import annotations

from typing import ClassVar


class LokalError(Exception):
    """An expected failure: one line that says what, and a hint that says what to do."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def as_dict(self) -> dict[str, str]:
        """The error as the object that `--json` prints under the key `error`."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


class UsageError(LokalError):
    code, exit_code = "usage", 2


class RefusedError(UsageError):
    code = "refused"


class ConstraintError(UsageError):
    code = "constraint"


class ModelNameError(LokalError):
    code, exit_code = "model-name", 3


class AmbiguousError(ModelNameError):
    code = "ambiguous"


class AccessError(LokalError):
    code, exit_code = "access", 4


class OfflineError(LokalError):
    code, exit_code = "offline", 5


class SpaceError(LokalError):
    code, exit_code = "space", 6


class IntegrityError(LokalError):
    code, exit_code = "integrity", 7


class NetworkError(LokalError):
    code, exit_code = "network", 8


class ContextError(LokalError):
    code, exit_code = "context", 9


class LengthError(LokalError):
    code, exit_code = "length", 10


class IncompleteError(LengthError):
    code = "incomplete"


class BatchError(LokalError):
    code, exit_code = "batch", 11


class LoadError(LokalError):
    code, exit_code = "load", 12


class ArchitectureError(LoadError):
    code = "architecture"


class LayoutError(LoadError):
    code = "layout"


class DamagedFileError(LoadError):
    code = "damaged"


class GpuError(LokalError):
    code, exit_code = "gpu", 13
