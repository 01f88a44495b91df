"""llama-server as somebody would use it for a batch: as many clients as it has slots."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple

from workload import Ask

_HOST = "127.0.0.1"
_PATIENCE = 300  # seconds for it to load the model


class Answers(NamedTuple):
    """What the server made of a workload: seconds, and tokens by its own count."""

    seconds: float
    prompt_tokens: int
    completion_tokens: int


@contextmanager
def server(command: list[str]) -> Iterator[int]:
    """Run llama-server while it lasts; gives the port once the model is loaded.

    Raises:
        SystemExit: it did not start; the message has the end of its standard error.
    """
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*command, "--host", _HOST, "--port", str(port), "--no-webui"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"GOMP_SPINCOUNT": "1000", **os.environ},  # as `llm` sets it
        )
        try:
            if not _healthy(process, port):
                log.seek(0)
                words = log.read().decode("utf-8", "replace")[-2000:]
                raise SystemExit(f"{Path(command[0]).name} did not start:\n{words}")
            yield port
        finally:
            process.terminate()
            process.wait()


def ask_all(port: int, asks: list[Ask], clients: int) -> Answers:
    """Let so many clients, each with one connection, take the prompts in order."""
    queue: SimpleQueue[Ask] = SimpleQueue()
    for ask in asks:
        queue.put(ask)
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        counts = [pool.submit(_client, port, queue) for _ in range(clients)]
        prompt, completion = map(sum, zip(*(count.result() for count in counts), strict=True))
    return Answers(time.perf_counter() - start, prompt, completion)


def _client(port: int, queue: SimpleQueue[Ask]) -> tuple[int, int]:
    """Prompt and completion tokens of everything that one client asked for."""
    prompt = completion = 0
    connection = HTTPConnection(_HOST, port)
    with suppress(Empty):
        while True:
            ask = queue.get_nowait()
            body = {
                "prompt": ask.prompt,
                "n_predict": ask.max_tokens,
                "ignore_eos": True,
                "temperature": 0,
                "top_k": 1,  # nothing is to be sorted where one token is asked for
                "cache_prompt": True,
                "stream": False,
            }
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/completion", json.dumps(body), headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
            if response.status != 200 or answer["truncated"]:
                raise SystemExit(f"llama-server answers {response.status}: {str(answer)[:500]}")
            prompt += answer["tokens_evaluated"]
            completion += answer["tokens_predicted"]
    connection.close()
    return prompt, completion


def _healthy(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until it answers; False if it ended, or takes too long."""
    end = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < end:
        with suppress(OSError, HTTPException):
            connection = HTTPConnection(_HOST, port, timeout=5)
            connection.request("GET", "/health")
            ready = connection.getresponse().status == 200
            connection.close()
            if ready:
                return True
        time.sleep(0.05)
    return False
