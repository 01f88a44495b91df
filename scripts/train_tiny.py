# ruff: noqa: T201 - progress goes to the terminal
"""Trains the embedded model `tiny` from nothing: corpus, tokenizer, model, evaluation, GGUF file.

    python scripts/train_tiny.py --out src/lokal/data/tiny.gguf

Needs the packages of the extra `train` and about three quarters of an hour on two CPU cores.
The seed decides the corpus, the tokenizer and the first weights; sums of floating-point numbers
may differ from one machine to another, so the last digits of the weights may as well.
"""

import argparse
import io
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import sentencepiece
import tiny_gguf
from tiny_corpus import Message, conversations, corpus

Params = dict[str, Any]
BOS, EOS, INST, END_INST = 1, 2, 3, 4


@dataclass(frozen=True)
class Shape:
    """Mistral's architecture in small; every row length is a multiple of 32, as Q8_0 needs."""

    vocab: int = 2048
    dim: int = 160
    layers: int = 6
    heads: int = 6
    kv_heads: int = 2
    head_dim: int = 32
    ffn: int = 448
    eps: float = 1e-5
    rope_base: float = 10000.0


# ---------------------------------------------------------------------------------- tokens


def train_tokenizer(seed: int, vocab: int) -> sentencepiece.SentencePieceProcessor:
    """BPE with byte fallback, on ASCII lines only: other scripts are left to the bytes."""
    documents = islice(conversations(seed), 20_000)
    lines = (
        line
        for messages in documents
        for message in messages
        for line in message["content"].split("\n")
        if line and line.isascii()
    )
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab,
        byte_fallback=True,
        split_digits=True,
        add_dummy_prefix=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        control_symbols="[INST],[/INST]",
        unk_id=0,
        bos_id=BOS,
        eos_id=EOS,
        pad_id=-1,
        character_coverage=1.0,
        required_chars="".join(map(chr, range(33, 127))),
        num_threads=1,
        minloglevel=1,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def encode(
    tokenizer: sentencepiece.SentencePieceProcessor, messages: list[Message]
) -> tuple[list[int], list[int]]:
    """Tokens as the chat template renders them, and how much each one counts in the loss.

    Prompts count nothing. Short answers count three times, or the stories, six times as long,
    would leave the facts hardly any weight.
    """
    tokens, learn, system = [BOS], [0], ""
    for message in messages:
        text = message["content"].strip()
        if message["role"] == "system":
            system = text + "\n\n"
        elif message["role"] == "user":
            ids = [INST, *tokenizer.encode(system + text), END_INST]
            tokens, learn, system = tokens + ids, learn + [0] * len(ids), ""
        else:
            ids = [*tokenizer.encode(text), EOS]
            weight = 3 if len(ids) < 50 else 1
            tokens, learn = tokens + ids, learn + [weight] * len(ids)
    return tokens, learn


def batches(
    tokenizer: sentencepiece.SentencePieceProcessor,
    source: Iterator[list[Message]],
    rows: int,
    length: int,
) -> Iterator[np.ndarray]:
    """Pack whole documents into rows: int32 (2, rows, length + 1), tokens and what to learn.

    Each document goes into the first of the open rows that has room; unused places hold BOS.
    """
    open_rows: list[tuple[list[int], list[int]]] = []
    done: list[tuple[list[int], list[int]]] = []
    for messages in source:
        tokens, learn = (part[: length + 1] for part in encode(tokenizer, messages))
        fitting = next((row for row in open_rows if len(row[0]) + len(tokens) <= length + 1), None)
        if fitting:
            fitting[0].extend(tokens)
            fitting[1].extend(learn)
        else:
            open_rows.append((tokens, learn))
        if len(open_rows) > 32:
            fullest = max(open_rows, key=lambda row: len(row[0]))
            open_rows.remove(fullest)
            done.append(fullest)
        if len(done) == rows:
            batch = np.zeros((2, rows, length + 1), np.int32)
            batch[0] = BOS
            for index, (row, mask) in enumerate(done):
                batch[0, index, : len(row)], batch[1, index, : len(row)] = row, mask
            done = []
            yield batch


# ----------------------------------------------------------------------------------- model


def init(shape: Shape, seed: int) -> Params:
    """Small normal weights; the matrices that write to the residual stream start at zero."""
    rng = np.random.default_rng(seed)
    s = shape

    def normal(*size: int) -> jax.Array:
        return jnp.asarray(rng.normal(0, size[0] ** -0.5, size), jnp.float32)

    def block() -> Params:
        return {
            "attn_norm": jnp.ones(s.dim),
            "ffn_norm": jnp.ones(s.dim),
            "q": normal(s.dim, s.heads * s.head_dim),
            "k": normal(s.dim, s.kv_heads * s.head_dim),
            "v": normal(s.dim, s.kv_heads * s.head_dim),
            "o": jnp.zeros((s.heads * s.head_dim, s.dim)),
            "gate": normal(s.dim, s.ffn),
            "up": normal(s.dim, s.ffn),
            "down": jnp.zeros((s.ffn, s.dim)),
        }

    embed = jnp.asarray(rng.normal(0, 0.05, (s.vocab, s.dim)), jnp.float32)
    return {"embed": embed, "norm": jnp.ones(s.dim), "blocks": [block() for _ in range(s.layers)]}


def rms_norm(x: jax.Array, weight: jax.Array, eps: float) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + eps) * weight


def rotate(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """Rotary positions on neighbouring pairs, which llama.cpp calls the NORM kind."""
    pairs = x.reshape(*x.shape[:-1], -1, 2)
    a, b = pairs[..., 0], pairs[..., 1]
    return jnp.stack([a * cos - b * sin, a * sin + b * cos], -1).reshape(x.shape)


def forward(params: Params, tokens: jax.Array, shape: Shape) -> jax.Array:
    """Logits (batch, time, vocab). A token sees only its own document, which starts at BOS."""
    s, (batch, time_) = shape, tokens.shape
    group = s.heads // s.kv_heads
    frequency = s.rope_base ** (-jnp.arange(0, s.head_dim, 2) / s.head_dim)
    angle = jnp.arange(time_)[:, None] * frequency
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    document = jnp.cumsum(tokens == BOS, -1)
    visible = jnp.tril(jnp.ones((time_, time_), bool)) & (
        document[:, :, None] == document[:, None, :]
    )
    hidden = jnp.where(visible, 0.0, -1e9)[:, None, None]

    def heads(x: jax.Array, count: int) -> jax.Array:
        return x.reshape(batch, time_, count, s.head_dim).transpose(0, 2, 1, 3)

    x = params["embed"][tokens]
    for block in params["blocks"]:
        h = rms_norm(x, block["attn_norm"], s.eps)
        q = rotate(heads(h @ block["q"], s.heads), cos, sin)
        k = rotate(heads(h @ block["k"], s.kv_heads), cos, sin)
        v = heads(h @ block["v"], s.kv_heads)
        # The heads of a group share keys and values: fold them into the time axis.
        q = q.reshape(batch, s.kv_heads, group * time_, s.head_dim)
        scores = (q @ k.swapaxes(-1, -2)) * s.head_dim**-0.5
        scores = scores.reshape(batch, s.kv_heads, group, time_, time_) + hidden
        weights = jax.nn.softmax(scores, -1).reshape(batch, s.kv_heads, group * time_, time_)
        mixed = (weights @ v).reshape(batch, s.heads, time_, s.head_dim)
        x = x + mixed.transpose(0, 2, 1, 3).reshape(batch, time_, -1) @ block["o"]
        h = rms_norm(x, block["ffn_norm"], s.eps)
        x = x + (jax.nn.silu(h @ block["gate"]) * (h @ block["up"])) @ block["down"]
    return rms_norm(x, params["norm"], s.eps) @ params["embed"].T


def losses(params: Params, batch: jax.Array, shape: Shape) -> tuple[jax.Array, jax.Array]:
    """Per position: cross-entropy, and whether the best token is the right one."""
    tokens, targets = batch[0, :, :-1], batch[0, :, 1:]
    logits = forward(params, tokens, shape)
    right = jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
    return jax.nn.logsumexp(logits, -1) - right, logits.argmax(-1) == targets


# -------------------------------------------------------------------------------- training


def orthogonal(update: jax.Array) -> jax.Array:
    """Muon: the nearest orthogonal matrix, by five Newton-Schulz steps.

    It needs about half the steps of Adam here, which is what makes an hour on two cores enough.
    """
    tall = update.shape[0] > update.shape[1]
    x = update.T if tall else update
    x = x / (jnp.linalg.norm(x) + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.T if tall else x) * max(1, update.shape[1] / update.shape[0]) ** 0.5


@partial(jax.jit, static_argnames="shape", donate_argnums=(0, 1))
def train_step(
    params: Params,
    moments: tuple[Params, Params],
    batch: jax.Array,
    rate: jax.Array,
    step: jax.Array,
    shape: Shape,
) -> tuple[Params, tuple[Params, Params], jax.Array]:
    """One step: Muon for the matrices of the blocks, Adam for the embedding and the norms."""

    def mean_loss(params: Params) -> jax.Array:
        learn = batch[1, :, 1:]
        return (losses(params, batch, shape)[0] * learn).sum() / learn.sum()

    loss, grads = jax.value_and_grad(mean_loss)(params)
    norm = jnp.sqrt(sum((g * g).sum() for g in jax.tree.leaves(grads)))
    grads = jax.tree.map(lambda g: g * jnp.minimum(1.0, 1.0 / norm), grads)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], grads)
    second = jax.tree.map(lambda v, g: 0.97 * v + 0.03 * g * g, moments[1], grads)

    def update(path: Any, p: jax.Array, m: jax.Array, v: jax.Array, g: jax.Array) -> jax.Array:
        if p.ndim == 2 and len(path) > 1:
            return p * (1 - 0.05 * rate) - rate * orthogonal(0.9 * m + 0.1 * g)
        m_hat, v_hat = m / (1 - 0.9**step), v / (1 - 0.97**step)
        return p - 0.2 * rate * m_hat / (jnp.sqrt(v_hat) + 1e-9)

    params = jax.tree_util.tree_map_with_path(update, params, first, second, grads)
    return params, (first, second), loss


def learning_rate(step: int, steps: int, peak: float) -> float:
    """A short warm-up, then a straight line to zero."""
    return peak * min((step + 1) / 50, 1.0) * (1 - step / steps)


def evaluate(
    params: Params,
    shape: Shape,
    tokenizer: sentencepiece.SentencePieceProcessor,
    seed: int,
    items: int,
) -> None:
    """Loss per kind on unseen documents, and how many greedy answers are right to the letter.

    A greedy answer is exact if the best token is right at every place of the expected answer.
    Only kinds with one right answer count: facts, JSON and labels.
    """
    run = jax.jit(partial(losses, shape=shape))
    for kind, make in corpus.MAKERS.items():
        rng = Random(f"{seed} {kind}")
        batch = np.zeros((2, items, 321), np.int32)
        for row in range(items):
            tokens, learn = encode(tokenizer, make(rng)[:2])
            batch[0, row, : len(tokens)], batch[1, row, : len(tokens)] = tokens, learn
        totals = defaultdict(float)
        for part in np.split(batch, items // 16, 1):
            learn = part[1, :, 1:]
            loss, best = run(params, part)
            totals["loss"] += float((loss * learn).sum())
            totals["tokens"] += float(learn.sum())
            totals["exact"] += int((np.asarray(best) | (learn == 0)).all(-1).sum())
        share = f", exact {totals['exact'] / items:.0%}"
        exact = share if kind in ("fact", "json", "label") else ""
        print(f"  {kind:8} loss {totals['loss'] / totals['tokens']:.3f}{exact}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("src/lokal/data/tiny.gguf"))
    parser.add_argument("--steps", type=int, default=2200, help="training steps of 3072 tokens")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.01, help="peak learning rate")
    parser.add_argument("--save-every", type=int, default=550, help="steps between saved files")
    parser.add_argument("--weights", type=Path, help="also keep the F32 weights, as a .npz file")
    options = parser.parse_args()

    shape = Shape()
    tokenizer = train_tokenizer(options.seed, shape.vocab)
    params = init(shape, options.seed)
    moments = tuple(jax.tree.map(jnp.zeros_like, params) for _ in range(2))
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    print(f"{size:,} parameters, {tokenizer.get_piece_size()} tokens", flush=True)

    # Every eighth step sees the whole context: conversations of many turns and long prompts.
    short = batches(tokenizer, conversations(options.seed + 1), 12, 256)
    long = batches(tokenizer, conversations(options.seed + 2, long=True), 3, tiny_gguf.CONTEXT)
    start = mark = time.perf_counter()
    for step in range(options.steps):
        batch = next(long if step % 8 == 7 else short)
        rate = learning_rate(step, options.steps, options.rate)
        params, moments, loss = train_step(params, moments, batch, rate, step + 1, shape)
        if (step + 1) % 50 == 0:
            speed = 50 * batch[0, :, 1:].size / (time.perf_counter() - mark)
            mark = time.perf_counter()
            print(
                f"step {step + 1} loss {float(loss):.3f} rate {rate:.4f} {speed:.0f} tokens/s "
                f"{mark - start:.0f} s",
                flush=True,
            )
        if (step + 1) % options.save_every == 0 or step + 1 == options.steps:
            items = 128 if step + 1 == options.steps else 32
            evaluate(params, shape, tokenizer, options.seed + 1_000_000, items)
            written = tiny_gguf.write(options.out, params, shape, tokenizer)
            if options.weights:
                leaves = jax.tree_util.tree_flatten_with_path(params)[0]
                np.savez(options.weights, **{jax.tree_util.keystr(k): v for k, v in leaves})
            print(f"wrote {options.out}, {written:,} bytes", flush=True)


if __name__ == "__main__":
    main()
