"""A conversation of twenty turns: is the last answer as quick to begin as the second?

Both sides keep the KV cache from turn to turn and get the same texts of the user; the answers are
their own, greedy, of the same length. Time to first token is the whole way of a turn: rendering,
tokenizing, computing what is new, and a token.

    python benchmarks/turns.py --model FILE --reference FOLDER
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

from compare import Comparison, report
from server import server

import lokal.settings
from lokal.engine.request import FinishEvent, TextEvent
from lokal.loading import LoadOptions
from lokal.model import Model
from lokal.weights import find, obtain

TURNS, TOKENS, CTX = 20, 16, 2048
TEMPLATE = (
    "{% for m in messages %}{{ '### ' + m.role + '\\n' + m.content + '\\n' }}{% endfor %}"
    "{{ '### assistant\\n' }}"
)


def question(turn: int) -> str:
    animal = ("fox", "owl", "bear", "cat")[turn % 4]
    return f"Tell me about the {animal} and its friend, number {turn}, in a few words."


class Turn(NamedTuple):
    """Seconds to the first token, and tokens of the prompt that were computed for it."""

    seconds: float
    computed: int


def ours(path: str, threads: int) -> list[Turn]:
    around = lokal.settings.load()
    weights = obtain(find(path, around), around)._replace(own_template=TEMPLATE)
    turns, messages = [], []
    with Model(weights, LoadOptions(ctx=CTX, threads=threads, keep=True)) as model:
        params = model.sampling(temperature=0, max_tokens=TOKENS, ignore_eos=True)
        for number in range(TURNS):
            messages.append({"role": "user", "content": question(number)})
            start = time.perf_counter()
            # The space that an answer may begin with stays, as `llm chat` keeps it.
            prompt = model.format().build(messages)._replace(drop_space=False)
            request = model.request(prompt, params, seed=1)
            text = ""
            for event in model.events(request):
                if isinstance(event, TextEvent):
                    text += event.text
                elif isinstance(event, FinishEvent):
                    whole, usage = time.perf_counter() - start, event.usage
                    first = whole - event.timings.generate
            messages.append({"role": "assistant", "content": text})
            turns.append(Turn(first, usage.prompt_tokens - usage.cached_tokens))
    return turns


def theirs(command: list[str]) -> list[Turn]:
    turns, messages = [], []
    with server(command) as port:
        for number in range(TURNS):
            messages.append({"role": "user", "content": question(number)})
            body = {
                "messages": messages,
                "max_tokens": TOKENS,
                "ignore_eos": True,
                "temperature": 0,
                "cache_prompt": True,
                "stream": True,
                "timings_per_token": True,
            }
            connection = HTTPConnection("127.0.0.1", port)
            start, first, text, computed = time.perf_counter(), 0.0, "", 0
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            response = connection.getresponse()
            for line in response:
                if not line.startswith(b"data: {"):
                    continue
                part = json.loads(line.removeprefix(b"data: "))
                computed = part.get("timings", {}).get("prompt_n", computed)
                for choice in part["choices"]:
                    if choice["delta"].get("content"):
                        first = first or time.perf_counter() - start
                        text += choice["delta"]["content"]
            messages.append({"role": "assistant", "content": text})
            turns.append(Turn(first, computed))
            connection.close()
    return turns


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    growth: tuple[list[float], list[float]] = [], []
    last: tuple[list[float], list[float]] = [], []
    computed: tuple[list[float], list[float]] = [], []
    with tempfile.NamedTemporaryFile("w", suffix=".jinja") as file:
        file.write(TEMPLATE)
        file.flush()
        command = [str(arguments.reference / "llama-server"), "-m", arguments.model]
        command += ["-c", str(CTX), "-np", "1", "-t", str(arguments.threads)]
        command += ["--chat-template-file", file.name, "--jinja", "--no-warmup"]
        for _ in range(arguments.rounds):
            sides = ours(arguments.model, arguments.threads), theirs(command)
            for side, turns in enumerate(sides):
                growth[side].append(turns[-1].seconds / turns[1].seconds)
                last[side].append(turns[-1].seconds)
                computed[side].append(statistics.mean(turn.computed for turn in turns[1:]))
    # The promise is about ours alone: against a flat line.
    flat = Comparison("turn 20 / turn 2", "x", growth[0], [1.0] * len(growth[0]), 1.5)
    beside = Comparison("first token of turn 20", "s", *last, 1.25)
    fewer = Comparison("computed for a turn", "tokens", *computed, 1.0)
    return report([flat, beside, fewer], as_json=arguments.json)


if __name__ == "__main__":
    sys.exit(main())
