"""Choosing tokens: a chain of llama.cpp's samplers for each sequence."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from lokal.engine.request import SamplingParams
from lokal.engine.sequence import Sequence
from lokal.engine.vocabulary import Vocabulary
from lokal.errors import DamagedFileError, UsageError

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from lokal.engine.logprobs import Likely

PENALTY_WINDOW = 64  # tokens that repeat_penalty looks back; llama.cpp's own default
# Of a temperature; divided by far less, logits are infinite and lose their order.
GREEDY_BELOW = 1e-6
WORTH_THREADS = 2**20  # logits to sample from; fewer are done before a thread wakes up

Place = tuple[Sequence, int]
"""A sequence, and the row of logits that its next token is chosen from."""


class Samplers:
    """Chooses tokens from the logits of a native context, each sequence with samplers of its own.

    `lib` is the ctypes module of llama.cpp; `n_threads` may share the work. `suspect` is whose
    file to blame where the logits are no numbers. Not thread-safe.
    """

    def __init__(
        self, lib: Any, vocabulary: Vocabulary, context: Any, *, n_threads: int, suspect: str
    ) -> None:
        self._lib, self._vocabulary, self._context = lib, vocabulary, context
        self._suspect = suspect
        self._chains: dict[Sequence, _Chain] = {}
        self._pool = _pool(n_threads) if n_threads > 1 else None
        self._seen_whole_row = False

    def close(self) -> None:
        """Free the native memory; calling it twice is fine."""
        if self._pool:
            self._pool.shutdown()
        for sequence in list(self._chains):
            self.drop(sequence)

    def drop(self, sequence: Sequence) -> None:
        """Forget a sequence that has ended, if it is known."""
        if chain := self._chains.pop(sequence, None):
            self._lib.llama_sampler_free(chain.native)

    def sample(self, places: list[Place]) -> list[int]:
        """The next token of each sequence.

        Raises:
            DamagedFileError: the logits are no numbers.
        """
        for sequence, row in places:
            self._check_row(row)
            if sequence not in self._chains:
                self._chains[sequence] = self._chain(sequence)
        spread: Callable[..., Iterator[Any]] = map
        if self._pool and len(places) * self._vocabulary.n_tokens > WORTH_THREADS:
            # The first look at the logits puts their rows in order, which is no work for two.
            self._logits(places[0][1])
            spread = self._pool.map
        # All of them before the first mask: more than one may be sampled from a row.
        asked = [place for place in places if place[0].request.params.logprobs is not None]
        looks = dict(zip(asked, spread(self._likely, asked), strict=True))
        tokens = list(spread(self._next, places))
        for place, token in zip(places, tokens, strict=True):
            self._account(place, token, looks.get(place))
        return tokens

    def _logits(self, row: int) -> Any:
        return self._lib.llama_get_logits_ith(self._context, row)

    def _likely(self, place: Place) -> Likely:
        """What the model itself holds likely; any thread may look."""
        from lokal.engine.logprobs import likely

        sequence, row = place
        address, n_tokens = ctypes.addressof(self._logits(row).contents), self._vocabulary.n_tokens
        return likely(address, n_tokens, sequence.request.params.logprobs or 0)

    def _next(self, place: Place) -> int:
        """The next token of a sequence, from the row of its logits; any thread may do it."""
        sequence, row = place
        chain = self._chains[sequence]
        if sequence.constrained:
            sequence.mask(ctypes.addressof(self._logits(row).contents))
        # The prompt, and what was put in since the last token that was sampled.
        for token in sequence.tokens[chain.n_seen :]:
            self._lib.llama_sampler_accept(chain.native, token)
        chain.n_seen = len(sequence.tokens) + 1
        return int(self._lib.llama_sampler_sample(chain.native, self._context, row))

    def _account(self, place: Place, token: int, look: Likely | None) -> None:
        """Note how likely the token was, or that there was none to choose."""
        sequence, row = place
        logit, biases = self._logits(row)[token], self._chains[sequence].biases
        if math.isnan(logit) or logit == math.inf or (look and not math.isfinite(look.total)):
            raise self._no_numbers()
        if logit + biases.get(token, 0) == -math.inf:
            if sequence.request.params.logit_bias:
                sequence.stuck = UsageError(
                    "logit_bias forbids every token that could follow", hint="allow some of them"
                )
            elif not sequence.constrained:  # whose matcher says what is wrong
                raise self._no_numbers()
        elif look:
            from lokal.engine.logprobs import token_logprob

            logprob = logit - look.total
            sequence.likelihood = token_logprob(self._vocabulary, token, logprob, look.top)

    def _check_row(self, row: int) -> None:
        """Refuse logits that are no numbers: what is sampled from them means nothing.

        A NaN on the way to the logits makes all of them NaN. One that stands in the last matrix
        makes the same one NaN in every row, and would go unnoticed: samplers pass it over, or lose
        the order of the others. So the first row of all is looked at as a whole, once: that takes
        4 ms where there are 128,000. Infinity shows when such a token is chosen.
        """
        logits = self._logits(row)
        if self._seen_whole_row:
            broken = math.isnan(logits[0])
        else:
            # A model may rule tokens out with -inf, and the sum of anything and NaN is NaN.
            total = sum(logits[: self._vocabulary.n_tokens])
            broken = math.isnan(total) or total == math.inf
        if broken:
            raise self._no_numbers()
        self._seen_whole_row = True

    def _no_numbers(self) -> DamagedFileError:
        return DamagedFileError(
            "the model computes no numbers (NaN or infinity)",
            hint=f"{self._suspect} is damaged: take it from another source",
        )

    def _chain(self, sequence: Sequence) -> _Chain:
        lib, params = self._lib, sequence.request.params
        biases = self._biases(params)
        native = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        for stage in self._stages(params, biases, sequence.request.seed):
            lib.llama_sampler_chain_add(native, stage)
        # Only a penalty looks back.
        n_back = PENALTY_WINDOW if params.repeat_penalty != 1 else 0
        return _Chain(native, biases, max(0, len(sequence.tokens) - n_back))

    def _biases(self, params: SamplingParams) -> dict[int, float]:
        biases = dict(params.logit_bias)
        if params.ignore_eos:
            biases.update(dict.fromkeys(self._vocabulary.eog_tokens(), -math.inf))
        return biases

    def _stages(self, params: SamplingParams, biases: dict[int, float], seed: int) -> Iterator[Any]:
        """The samplers in llama.cpp's own default order."""
        lib, n_vocab = self._lib, self._vocabulary.n_tokens
        if biases:
            native = (lib.llama_logit_bias * len(biases))(*biases.items())
            yield lib.llama_sampler_init_logit_bias(n_vocab, len(biases), native)
        if params.repeat_penalty != 1:
            yield lib.llama_sampler_init_penalties(
                n_vocab, PENALTY_WINDOW, params.repeat_penalty, 0.0, 0.0
            )
        if params.temperature < GREEDY_BELOW:
            yield lib.llama_sampler_init_greedy()
            return
        yield lib.llama_sampler_init_top_k(params.top_k)
        yield lib.llama_sampler_init_top_p(params.top_p, 1)
        yield lib.llama_sampler_init_min_p(params.min_p, 1)
        yield lib.llama_sampler_init_temp(params.temperature)
        yield lib.llama_sampler_init_dist(seed)


class _Chain:
    """The samplers of a sequence; they know of the first `n_seen` of its tokens."""

    def __init__(self, native: Any, biases: dict[int, float], n_seen: int) -> None:
        self.native, self.biases, self.n_seen = native, biases, n_seen


def _pool(n_threads: int) -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # 5 ms that a single answer does without

    return ThreadPoolExecutor(n_threads, "sampler")
