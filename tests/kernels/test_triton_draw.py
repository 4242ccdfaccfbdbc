"""The Triton kernel of `project_and_draw`: in the interpreter, or on a GPU if there is one."""

import numpy as np
import pytest
import torch
from fakes import projections
from scipy import stats

from stepimp.kernels import choice, draw
from stepimp.kernels.draw import project_and_draw
from stepimp.sampling import sampler
from stepimp.schedules.schedule import parse

triton = pytest.importorskip("triton", reason="needs Triton")
import triton.language as tl  # noqa: E402

from stepimp.kernels import triton_draw  # noqa: E402

names = np.array([[5, 0, 3, 2**40], [0, 9, 2**33, 1]])  # of four rows: samples, positions


@triton.jit
def words_of(counters, out, n: tl.constexpr):
    row = tl.arange(0, n) * 6
    words = triton_draw.philox(
        tl.load(counters + row).to(tl.uint64),
        tl.load(counters + row + 1).to(tl.uint64),
        tl.load(counters + row + 2).to(tl.uint64),
        tl.load(counters + row + 3).to(tl.uint64),
        tl.load(counters + row + 4).to(tl.uint64),
        tl.load(counters + row + 5).to(tl.uint64),
    )
    for i in tl.static_range(4):
        tl.store(out + tl.arange(0, n) * 4 + i, words[i].to(tl.int64))


def test_philox_gives_numpys_bits(device):
    draws = np.random.default_rng(0).integers(0, 2**64, (16, 6), dtype=np.uint64)
    draws[0], draws[1] = 0, 2**64 - 1
    # NumPy counts up before its first block.
    ahead = [np.random.Philox(key=words[4:], counter=words[:4]).random_raw(4) for words in draws]
    draws[:, 0] += 1
    draws[1, :4] = 0  # the carry
    out = torch.empty(16, 4, dtype=torch.long, device=device)
    words_of[(1,)](torch.from_numpy(draws.view(np.int64)).to(device), out, 16)
    assert np.array_equal(out.cpu().numpy().view(np.uint64), ahead)


@triton.jit
def noise_of(words, out, n: tl.constexpr):
    at = tl.arange(0, n)
    tl.store(out + at, triton_draw.minus_log_exponential(tl.load(words + at).to(tl.uint64)))


def test_noise_is_numpys_to_the_last_digits_even_at_the_ends(device):
    words = np.random.default_rng(0).integers(0, 2**64, 1024, dtype=np.uint64)
    words[:6] = 0, 2**11 - 1, 2**11, 2**20, 2**63, 2**64 - 1
    out = torch.empty(1024, dtype=torch.float64, device=device)
    noise_of[(1,)](torch.from_numpy(words.view(np.int64)).to(device), out, 1024)
    exact = -np.log(-np.log1p(-np.maximum((words >> np.uint64(11)) * 2.0**-53, 2.0**-54)))
    np.testing.assert_allclose(out.cpu().numpy(), exact, rtol=1e-14, atol=1e-15)


# n, V, D, mask token, dtype
SHAPES = {
    "one row": (1, 70, 16, 69, torch.float32),
    "two tokens": (3, 2, 16, 1, torch.float32),
    "five rows, mask first": (5, 301, 64, 0, torch.float32),
    "ragged, mask inside": (67, 130, 33, 64, torch.float32),
    "bfloat16": (9, 131, 64, 130, torch.bfloat16),
    "bfloat16, ragged": (4, 67, 50, 66, torch.bfloat16),
}


@pytest.mark.parametrize("n, vocab, width, mask_id, dtype", SHAPES.values(), ids=SHAPES)
def test_it_draws_what_the_cpu_draws(device, poisoned_memory, n, vocab, width, mask_id, dtype):
    (rows,), (head,), _ = projections(n, vocab, (width,), dtype=dtype)
    head[1][mask_id] = 80.0
    where = 7, np.resize(names[0], n) + np.arange(n), np.resize(names[1], n)
    tokens = project_and_draw(
        rows.to(device), [part.to(device) for part in head], mask_id, *where, impl="triton"
    )
    assert torch.equal(tokens.cpu(), project_and_draw(rows, head, mask_id, *where, impl="torch"))
    assert torch.equal(
        tokens.cpu(), project_and_draw(rows, head, mask_id, *where, impl="reference")
    )


def test_it_draws_nothing_for_no_rows(device):
    (rows,), (head,), _ = projections(0, 70, (16,))
    head = [part.to(device) for part in head]
    assert project_and_draw(rows.to(device), head, 69, 0, [], [], impl="triton").shape == (0,)


def test_draws_follow_softmax(device):
    n, logits = 1500, torch.tensor([0.0, 1.0, -2.0, 3.0, 0.5])
    head = torch.zeros(5, 16, device=device), logits.to(device)
    drawn = project_and_draw(
        torch.zeros(n, 16, device=device), head, 3, 1, np.arange(n), np.zeros(n, int), impl="triton"
    )
    observed, possible = np.bincount(drawn.cpu(), minlength=5), [0, 1, 2, 4]
    assert observed[3] == 0
    expected = n * logits[possible].double().softmax(-1).numpy()
    assert stats.chisquare(observed[possible], expected).pvalue > 1e-3


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_seeds_of_63_bits(device, seed):
    (rows,), (head,), _ = projections(2, 70, (16,))
    tokens = project_and_draw(
        rows.to(device), [part.to(device) for part in head], 69, seed, [1, 2], [3, 4], impl="triton"
    )
    assert torch.equal(
        tokens.cpu(), draw.draw_tokens(draw.project(rows, head, 69), seed, [1, 2], [3, 4])
    )


def test_the_sampler_gives_the_same_text_with_either(device, random_model, monkeypatch):
    if device == "cuda":
        pytest.skip("tests/test_gpu.py compares the devices")
    models, schedule = (
        {"h": random_model(1).freeze(), "l": random_model(2, n_blocks=1).freeze()},
        parse("L2,H2", "h", "l"),
    )
    by_torch = sampler.sample(models, schedule, range(2), 8, seed=3)
    monkeypatch.setattr(draw, "choose", lambda impl, x: choice.choose("triton", x))
    assert torch.equal(sampler.sample(models, schedule, range(2), 8, seed=3), by_torch)
