"""LoRA adapters in the real llama.cpp: logits as computed by hand, and files that are refused."""

from __future__ import annotations

import contextlib
import hashlib
import math
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import ggufs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lokal
from lokal.engine.backend import LlamaContext
from lokal.engine.interrupt import Interrupt
from lokal.engine.llama import LlamaModel, native_log
from lokal.engine.lora import MAX_SCALE, Lora, check_loras, loras, parse_lora
from lokal.engine.plan import Chunk, Plan, Shape
from lokal.engine.request import Request, SamplingParams
from lokal.engine.sequence import Sequence
from lokal.errors import DamagedFileError, LoadError, LokalError, ModelNameError, UsageError
from lokal.gguf import check
from lokal.gguf.adapter import check_adapter
from lokal.gguf.header import TensorInfo
from lokal.loading import LoadOptions, lora_settings
from lokal.settings import load

GREEDY = SamplingParams(temperature=0)
TOKENS = [1, 17, 230, 300, 42, 270]
ATTENTION = [f"blk.0.attn_{part}.weight" for part in ("q", "k", "v", "output")]
DENSE = [*ATTENTION, *(f"blk.1.ffn_{part}.weight" for part in ("gate", "up", "down"))]
EXPERTS = ["blk.0.ffn_gate_inp.weight"]
EXPERTS += [f"blk.1.ffn_{part}_exps.weight" for part in ("gate", "up", "down")]

Array = np.ndarray[Any, np.dtype[Any]]


def logits(path: Path, *adapters: Lora, repack: bool = True) -> Array:
    """What the model says after `TOKENS`."""
    with ExitStack() as stack:
        model = LlamaModel(path, Interrupt(), repack=repack, lora=adapters)
        stack.callback(model.close)
        shape = Shape(1, 1, 64, 64, 64, streams=True)
        context = LlamaContext(model, Interrupt(), shape, n_threads=1)
        stack.callback(context.close)
        sequence = Sequence(Request(tuple(TOKENS), GREEDY, 1))
        sequence.begin(0, 0)
        context.decode(Plan([], [], [Chunk(sequence, 0, TOKENS, sample=True)]))
        row = model.lib.llama_get_logits_ith(context._native, len(TOKENS) - 1)
        return np.array(row[: model.vocabulary.n_tokens])


def difference(one: Array, other: Array) -> float:
    return float(np.abs(one - other).max())


@pytest.fixture(scope="module")
def base(models: Path) -> Path:
    """In F32, so that nothing but the order of additions is lost."""
    return ggufs.write(models / "base.gguf", type="F32")


@pytest.fixture(scope="module")
def adapter(models: Path) -> Path:
    return ggufs.write_adapter(models / "adapter.gguf", ggufs.adapter_matrices(DENSE))


def test_an_adapter_of_the_output_adds_what_its_matrices_say(base: Path, tmp_path: Path) -> None:
    """logits = W h, so the model's own tell h, and the others are W h + alpha/rank B A h."""
    matrices = ggufs.adapter_matrices(["output.weight"], rank=2, seed=5)
    path = ggufs.write_adapter(tmp_path / "a.gguf", matrices, alpha=6.0)
    ((a, b),) = matrices.values()
    before = logits(base)
    (weights,) = (
        tensor.data for tensor in gguf.GGUFReader(base).tensors if tensor.name == "output.weight"
    )
    h, *_ = np.linalg.lstsq(weights.astype(np.float64), before, rcond=None)
    change = b @ (a @ h) * 6.0 / 2
    assert np.abs(change).max() > 1
    for scale in (1.0, 2.0, -0.5):
        assert difference(logits(base, Lora(str(path), scale)), before + scale * change) < 1e-3


@pytest.mark.parametrize(
    ("arch", "names"), [("llama", DENSE), ("mixtral", [*ATTENTION, *EXPERTS])], ids=str
)
@pytest.mark.parametrize("alpha", [None, 8.0])
def test_an_adapter_is_as_if_its_matrices_were_added_to_the_weights(
    tmp_path: Path, arch: str, names: list[str], alpha: float | None
) -> None:
    """The same model written with W + scale alpha/rank B A, in every place where there is one."""
    matrices = ggufs.adapter_matrices(names, arch, seed=3)
    path = ggufs.write_adapter(tmp_path / "a.gguf", matrices, arch="llama", alpha=alpha)
    base = ggufs.write(tmp_path / "base.gguf", arch, type="F32")
    check_adapter(path, check(base))
    factor = 0.75 * (alpha / 4 if alpha else 1)
    changes = {name: factor * (b @ a) for name, (a, b) in matrices.items()}
    merged = ggufs.write(tmp_path / "merged.gguf", arch, type="F32", changes=changes)
    expected = logits(merged)
    assert difference(logits(base), expected) > 1
    assert difference(logits(base, Lora(str(path), 0.75)), expected) < 1e-2
    for name in names:  # none of them is left out
        alone = ggufs.write_adapter(tmp_path / "one.gguf", {name: matrices[name]})
        assert difference(logits(base, Lora(str(alone))), logits(base)) > 1e-3, name


def test_scales_and_several_adapters(base: Path, adapter: Path, tmp_path: Path) -> None:
    """0 changes nothing at all; two adapters add up, in either order; 1 and -1 cancel out."""
    before = logits(base)
    assert difference(logits(base, Lora(str(adapter), 0)), before) == 0
    second = ggufs.adapter_matrices(DENSE, seed=9)
    other = ggufs.write_adapter(tmp_path / "other.gguf", second)
    first = ggufs.adapter_matrices(DENSE)
    changes = {
        name: 0.5 * (first[name][1] @ first[name][0]) + second[name][1] @ second[name][0]
        for name in DENSE
    }
    merged = logits(ggufs.write(tmp_path / "merged.gguf", type="F32", changes=changes))
    both = Lora(str(adapter), 0.5), Lora(str(other))
    assert difference(logits(base, *both), merged) < 1e-2
    assert difference(logits(base, *both[::-1]), merged) < 1e-2
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(adapter.read_bytes())
    opposite = logits(base, Lora(str(adapter)), Lora(str(copy), -1))
    assert difference(opposite, before) < 1e-3


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0", "F16"])
def test_repacked_weights_take_adapters_as_well(tmp_path: Path, adapter: Path, kind: str) -> None:
    """In whatever layout llama.cpp keeps the weights, the change is the same."""
    base = ggufs.write(tmp_path / "base.gguf", type=kind)
    plain, packed = (logits(base, Lora(str(adapter)), repack=repack) for repack in (False, True))
    # Quantized activations are rounded in another order.
    assert difference(plain, packed) < 0.5
    assert difference(plain, logits(base, repack=False)) > 5


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0"])
def test_adapters_may_be_stored_with_fewer_bits(base: Path, tmp_path: Path, kind: str) -> None:
    """As llama.cpp's converter writes them."""
    matrices = ggufs.adapter_matrices(DENSE, rank=32)
    exact = ggufs.write_adapter(tmp_path / "exact.gguf", matrices, alpha=8.0)
    rough = ggufs.write_adapter(tmp_path / "rough.gguf", matrices, alpha=8.0, type=kind)
    check_adapter(rough, check(base))
    change = difference(logits(base, Lora(str(exact))), logits(base))
    assert difference(logits(base, Lora(str(rough))), logits(base, Lora(str(exact)))) < change / 5


def test_answers_change_with_an_adapter_and_side_by_side_as_well(
    llama: Path, adapter: Path
) -> None:
    """From Python: a path, FILE:SCALE, or a list; told in the description."""
    fixed: dict[str, Any] = {"temperature": 0, "max_tokens": 12, "ignore_eos": True}
    options: dict[str, Any] = {"ctx": 64, "threads": 1}
    prompts = ["hello", "once upon", "the world"]

    def texts(lora: Any, **more: Any) -> list[str]:
        with lokal.load(llama, lora=lora, **options, **more) as model:
            assert ("adapter.gguf x" in model.description) == bool(lora)
            return [answer.text for answer in model.batch(prompts, **fixed)]

    base, changed = texts(()), texts(adapter)
    assert all(one != other for one, other in zip(base, changed, strict=True))
    assert texts([str(adapter)], parallel=3) == changed
    assert texts(f"{adapter}:0") == base


Break = Callable[[Path], Path]


def broken(**knobs: Any) -> Break:
    matrices = knobs.pop("matrices", None) or ggufs.adapter_matrices(["output.weight"])
    return lambda folder: ggufs.write_adapter(folder / "bad.gguf", matrices, **knobs)


def pair(name: str, a: tuple[int, ...], b: tuple[int, ...]) -> Break:
    return broken(matrices={name: (np.ones(a, np.float32), np.ones(b, np.float32))})


def half(folder: Path) -> Path:
    path = broken()(folder)
    return ggufs.truncate(path, path.stat().st_size // 2)


F64 = ggufs.Typed(1.0, gguf.GGUFValueType.FLOAT64)
TOKEN_LIST = ggufs.Typed([1], gguf.GGUFValueType.ARRAY, gguf.GGUFValueType.UINT32)
WRONG: dict[str, tuple[Break, type[Exception], str]] = {
    "architecture": (broken(arch="qwen2"), LoadError, "another base model: one of type qwen2, not"),
    "names": (pair("blk.7.attn_q.weight", (4, 64), (64, 4)), LoadError, "this one lacks"),
    "columns": (pair("output.weight", (4, 32), (470, 4)), LoadError, "another base model"),
    "rows": (pair("output.weight", (4, 64), (32, 4)), LoadError, "32 x 64|4 x 32"),
    "ranks": (pair("blk.0.attn_q.weight", (4, 64), (64, 2)), LoadError, "do not make"),
    "experts": (pair("blk.0.attn_q.weight", (2, 4, 64), (2, 64, 4)), LoadError, "do not make"),
    "norm": (pair("output_norm.weight", (4, 64), (1, 4)), LoadError, "cannot"),
    "embedding": (pair("token_embd.weight", (470, 4), (64, 4)), LoadError, "embedding of tokens"),
    "no pairs": (
        broken(others={"blk.0.attn_norm.weight": np.ones(64, np.float32)}),
        LoadError,
        "in another way",
    ),
    "half a pair": (
        broken(others={"blk.0.attn_q.weight.lora_a": np.ones((4, 64), np.float32)}),
        DamagedFileError,
        "half of a pair",
    ),
    "integers": (
        broken(others={f"blk.0.attn_q.weight.lora_{x}": np.ones((64, 64), np.int8) for x in "ab"}),
        LoadError,
        "as I8",
    ),
    "a model": (lambda folder: ggufs.write(folder / "m.gguf"), LoadError, "is a model, and no"),
    "an image": (broken(metadata={"general.type": "mmproj"}), LoadError, "of type 'mmproj'"),
    "a control vector": (broken(metadata={"adapter.type": "cvec"}), LoadError, "of type 'cvec'"),
    "no type": (broken(metadata={"adapter.type": None}), LoadError, "of type 'unnamed'"),
    "a number for a type": (broken(metadata={"general.type": 3}), LoadError, "is a model, and no"),
    "an activated one": (
        broken(metadata={"adapter.alora.invocation_tokens": TOKEN_LIST}),
        LoadError,
        "activated LoRA",
    ),
    "alpha in 64 bits": (broken(metadata={"adapter.lora.alpha": F64}), DamagedFileError, "32-bit"),
    "alpha of nothing": (broken(alpha=math.nan), DamagedFileError, "alpha of nan"),
    "truncated": (half, DamagedFileError, "truncated"),
    "a folder": (lambda folder: folder, LoadError, "is a directory"),
    "nothing": (lambda folder: folder / "none.gguf", ModelNameError, "no such file"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_adapter_for_this_model_is_refused(
    base: Path, tmp_path: Path, case: str
) -> None:
    """Before llama.cpp sees it, which aborts on some of these and passes over others."""
    write, error, words = WRONG[case]
    with pytest.raises(error, match=words):
        check_adapter(write(tmp_path), check(base))


@pytest.mark.parametrize(
    "name", ["position_embd.weight", "blk.0.ssm_conv1d.weight", "blk.0.time_mix_w1.weight"]
)
def test_what_llama_cpp_would_read_and_leave_out_is_refused(
    base: Path, tmp_path: Path, name: str
) -> None:
    """Tables that it looks up, and matrices that it convolves or multiplies without adapters."""
    path = pair(name, (4, 64), (32, 4))(tmp_path)
    header = check(base)
    tensors = (*header.tensors, TensorInfo(name, (64, 32), "F32", 0, 0))
    with pytest.raises(LoadError, match="which llama"):
        check_adapter(path, replace(header, tensors=tensors))


def test_an_adapter_without_tensors_is_none(base: Path, tmp_path: Path) -> None:
    """It would change nothing, and say so to nobody."""
    path = ggufs.write_adapter(tmp_path / "a.gguf", {})
    with pytest.raises(LoadError, match="without tensors"):
        check_adapter(path, check(base))


def test_a_safetensors_adapter_is_told_how_to_become_one(base: Path, tmp_path: Path) -> None:
    """What PEFT writes is what most people have."""
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(b"\x40\0\0\0\0\0\0\0" + b'{"__metadata__": {}}')
    with pytest.raises(DamagedFileError, match="safetensors") as caught:
        check_adapter(path, check(base))
    assert "convert_lora_to_gguf.py" in caught.value.hint


def test_what_it_was_made_for_is_told(llama: Path, tmp_path: Path) -> None:
    """Through the public API, and before anything is loaded."""
    named = {"general.base_model.0.name": "Somebody's Model"}
    path = broken(arch="qwen2", metadata=named)(tmp_path)
    with pytest.raises(LoadError, match="for another base model") as caught:
        lokal.load(llama, lora=path)
    assert "Somebody's Model" in caught.value.hint


def test_an_adapter_is_no_model(adapter: Path) -> None:
    """The hint says what to do with it."""
    with pytest.raises(LoadError, match="is a LoRA adapter") as caught:
        lokal.load(adapter)
    assert "--lora" in caught.value.hint


def test_an_adapter_that_makes_no_numbers_is_suspected(base: Path, tmp_path: Path) -> None:
    """The header does not show it; the answer does."""
    path = pair("blk.0.attn_q.weight", (4, 64), (64, 4))(tmp_path)
    path.write_bytes(path.read_bytes()[:-4] + np.float32(math.nan).tobytes())
    with pytest.raises(DamagedFileError, match="NaN") as caught:
        logits(base, Lora(str(path)))
    assert "an adapter's" in caught.value.hint


def damaged(path: Path, value: float) -> Path:
    """An adapter of the output, with a row of B that makes one logit what the value makes it."""
    matrices = ggufs.adapter_matrices(["output.weight"], rank=2, seed=5)
    ((_, b),) = matrices.values()
    b[300, :] = value
    return ggufs.write_adapter(path, matrices, alpha=6.0)


@pytest.mark.parametrize("asked", [{"temperature": 0}, {}, {"min_p": 0, "top_k": 0}], ids=str)
@pytest.mark.parametrize("logprobs", [None, 2])
def test_one_logit_that_is_no_number_is_an_error_too(
    base: Path, tmp_path: Path, asked: dict[str, Any], logprobs: int | None
) -> None:
    """Samplers pass a NaN over, or lose the order of the others: text would come out."""
    path = damaged(tmp_path / "nan.gguf", math.nan)
    with lokal.load(base, lora=path, ctx=64, threads=1) as model:
        for prompt in ("hello", "and again"):
            with pytest.raises(DamagedFileError, match="NaN"):
                model.generate(prompt, seed=1, logprobs=logprobs, **asked)


@pytest.mark.parametrize("asked", [{"temperature": 0}, {}], ids=str)
@pytest.mark.parametrize("value", [math.inf, -math.inf, 3e38, -3e38])
def test_infinity_is_an_error_or_a_token_that_is_ruled_out(
    base: Path, tmp_path: Path, asked: dict[str, Any], value: float
) -> None:
    """It is of one sign or the other; what is told is a number always."""
    fixed = {"seed": 1, "max_tokens": 20, "ignore_eos": True, **asked}
    path = damaged(tmp_path / "infinite.gguf", value)
    with lokal.load(base, lora=path, ctx=64, threads=1) as model:
        for prompt in ("hello", "the world", "once upon"):
            for logprobs in (None, 2):
                try:
                    answer = model.generate(prompt, logprobs=logprobs, **fixed)
                except DamagedFileError:
                    continue
                told = [entry for each in answer.logprobs or () for entry in (each, *each.top)]
                assert all(math.isfinite(entry.logprob) for entry in told)
                assert 300 not in {entry.id for entry in told}


def test_ctrl_c_while_an_adapter_is_read(
    base: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes in a callback of llama.cpp's, where an exception would be lost; all is freed."""
    closed: list[LlamaModel] = []
    close = LlamaModel.close
    monkeypatch.setattr(LlamaModel, "close", lambda model: (closed.append(model), close(model)))
    pressed: list[str] = []

    def press(line: str) -> None:
        if "loading lora adapter" in line and not pressed:
            pressed.append(line)
            signal.raise_signal(signal.SIGINT)

    with native_log(press), pytest.raises(KeyboardInterrupt):
        LlamaModel(base, Interrupt(), lora=(Lora(str(adapter)),))
    assert pressed
    assert [model.native for model in closed] == [None]


@given(changes=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=3))
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_header_makes_llama_cpp_abort(
    base: Path, adapter: Path, tmp_path: Path, changes: list[tuple[int, int]]
) -> None:
    """Bytes changed at random: it is refused, or it works."""
    data = bytearray(adapter.read_bytes())
    end = check_adapter(adapter, check(base)).data_offset
    for place, value in changes:
        data[place % end] = value
    path = tmp_path / "changed.gguf"
    path.write_bytes(data)
    with contextlib.suppress(LokalError):
        check_adapter(path, check(base))
        logits(base, Lora(str(path)))


def test_llama_cpp_s_own_refusal_is_passed_on(llama: Path, tmp_path: Path) -> None:
    """Of what the check does not see, and the model is freed."""
    path = broken(arch="qwen2")(tmp_path)
    with pytest.raises(LoadError, match=r"cannot load the adapter .*mismatch"):
        LlamaModel(llama, Interrupt(), lora=(Lora(str(path)),))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.gguf", Lora("a.gguf")),
        ("a.gguf:0.5", Lora("a.gguf", 0.5)),
        ("a.gguf:-1e-1", Lora("a.gguf", -0.1)),
        ("dir:1/a.gguf", Lora("dir:1/a.gguf")),
        ("a:b:2", Lora("a:b", 2)),
        ("C:\\x\\a.gguf", Lora("C:\\x\\a.gguf")),
        ("C:\\x\\a.gguf:.5", Lora("C:\\x\\a.gguf", 0.5)),
        ("a:1_0", Lora("a:1_0")),
        ("a: 1", Lora("a: 1")),
        ("a:", Lora("a:")),
    ],
)
def test_an_adapter_is_named_by_file_and_scale(text: str, expected: Lora) -> None:
    """A last part that is no number belongs to the name."""
    assert parse_lora(text) == expected


@pytest.mark.parametrize("text", ["", ":0.5", "a:nan", "a:inf", "a:-inf", "a:1001", "a\0b"])
def test_what_names_no_adapter(text: str) -> None:
    """A scale that is no finite number within reason, or no file."""
    with pytest.raises(UsageError):
        parse_lora(text)


@pytest.mark.parametrize("scale", ["nan", "-inf", "1e999", "1001"])
def test_a_scale_out_of_range_is_shown_as_it_was_written(scale: str) -> None:
    """So that it is found again."""
    with pytest.raises(UsageError, match=f"with a scale of {scale}$"):
        parse_lora(f"a.gguf:{scale}")


@given(st.text(min_size=1).filter(lambda text: "\0" not in text), st.floats(-MAX_SCALE, MAX_SCALE))
def test_any_file_and_scale_can_be_named(path: str, scale: float) -> None:
    """Whatever colons and numbers the name holds."""
    assert parse_lora(f"{path}:{scale!r}") == Lora(path, scale)


@given(st.text())
def test_parsing_raises_nothing_else(text: str) -> None:
    """Any text is an adapter or a usage error."""
    try:
        lora = parse_lora(text)
    except UsageError:
        return
    assert text in (lora.path, f"{lora.path}:{text.rpartition(':')[2]}")


def test_what_python_may_give(tmp_path: Path) -> None:
    """A path is all path; text has a scale; a list may mix them."""
    path = tmp_path / "a:5"
    expected = (Lora(str(path)), Lora("b", 2), Lora("c", 3))
    assert loras([path, "b:2", Lora("c", 3)]) == expected
    assert loras(path) == expected[:1]
    assert loras(Lora("c", 3)) == expected[2:]
    assert loras(()) == ()
    for wrong in (5, ["a", 0.5], b"a", Path("a\0b"), Lora("a", math.nan), Lora("a", True)):
        with pytest.raises(UsageError):
            loras(wrong)


def test_answers_are_told_apart_by_content_and_scale(adapter: Path, tmp_path: Path) -> None:
    """A copy elsewhere is the same adapter."""
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(adapter.read_bytes())
    digest = hashlib.sha256(adapter.read_bytes()).hexdigest()
    surroundings = load()
    assert lora_settings((), surroundings) == []
    for path in (adapter, copy):
        assert lora_settings((Lora(str(path), 0.5),), surroundings) == [(digest, 0.5)]


def test_whatever_cannot_be_found_is_a_usage_error(tmp_path: Path) -> None:
    """A name that is too long, somebody unknown, a file for a folder, links in a circle, a half."""
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    for path in ("a" * 300, "~nosuchuser/x", f"{__file__}/x", str(circle), "\ud800"):
        with pytest.raises(UsageError, match="no such adapter"):
            LoadOptions(lora=(Lora(path),)).check()


def test_missing_files_and_repetitions_are_said_before_anything_is_loaded(
    adapter: Path, tmp_path: Path
) -> None:
    """The same file under another name as well."""
    link = tmp_path / "link.gguf"
    link.symlink_to(adapter)
    check_loras([Lora(str(adapter), 0.5)])
    with pytest.raises(UsageError, match="no such adapter"):
        LoadOptions(lora=(Lora("/nowhere/a.gguf"),)).check()
    with pytest.raises(UsageError, match="given twice"):
        LoadOptions(lora=(Lora(str(adapter)), Lora(str(link)))).check()
    with pytest.raises(UsageError, match="no such adapter"):
        lokal.load("no-such-model", lora="/nowhere/a.gguf")
