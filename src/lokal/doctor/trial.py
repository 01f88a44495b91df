"""A few words from `tiny`, on one device; `python -m lokal.doctor.trial cpu` in a child."""

from __future__ import annotations

import sys
from typing import Any

from lokal import gguf
from lokal.catalog.refs import NameRef
from lokal.catalog.registry import Registry
from lokal.doctor.child import reply
from lokal.loading import LoadOptions
from lokal.model import Model
from lokal.weights import Weights

N_TOKENS = 24
_PROMPT = "Tell me a story about a fox"
_CTX = 256  # tokens


def trial(device: str) -> dict[str, Any]:
    """Ids and text of the likeliest tokens, and tokens a second.

    `device` is cpu, or the index of one of llama.cpp's GPUs. The user's own registry, which may
    mean something else by tiny, is left out.

    Raises:
        LokalError: what loading or generating raises.
    """
    entry = Registry.read().resolve(NameRef("tiny"))
    path = entry.embedded_path()
    assert path  # noqa: S101 - it is part of lokal
    with Model(Weights("tiny", path, gguf.check(path), entry), _options(device)) as model:
        answer = model.generate(
            _PROMPT, temperature=0.0, max_tokens=N_TOKENS, ignore_eos=True, logprobs=0, seed=0
        )
    tokens = [each.id for each in answer.logprobs or ()]
    rate = len(tokens) / (answer.timings.generate or 1e-9)
    return {"tokens": tokens, "text": answer.text, "rate": rate}


def _options(device: str) -> LoadOptions:
    if device == "cpu":
        return LoadOptions(_CTX, gpu_layers=0)
    return LoadOptions(_CTX, gpu_layers="all", split="none", main_gpu=int(device))


if __name__ == "__main__":
    reply(lambda: trial(sys.argv[1]))
