"""What only a CUDA device can show. The kernels' own tests run there as well: see the `device`
fixture.
"""

import pytest
import torch
from fakes import projections

from stepimp.curves import measure
from stepimp.kernels import choice, reference
from stepimp.kernels.draw import project_and_draw
from stepimp.kernels.linear import project
from stepimp.kernels.statistics import vocabulary_statistics
from stepimp.models.checkpoints import load_checkpoint
from stepimp.models.cuda_graphs import BATCHES
from stepimp.noise import NoiseSchedule
from stepimp.sampling import sampler
from stepimp.schedules.schedule import parse

pytestmark = pytest.mark.gpu


def on_gpu(rows, heads, targets):
    return [x.cuda() for x in rows], [(w.cuda(), b.cuda()) for w, b in heads], targets.cuda()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_statistics_at_full_size(dtype):
    rows, heads, targets = on_gpu(*projections(300, 50258, (768, 768, 512), dtype=dtype))
    assert choice.choose("auto", rows[0]) == "triton"
    exact = reference.vocabulary_statistics(rows, heads, targets, 50257)
    for found, right in zip(vocabulary_statistics(rows, heads, targets, 50257), exact):
        torch.testing.assert_close(found, right, rtol=1e-5, atol=3e-6)


def test_a_model_has_no_divergence_from_itself_at_full_size():
    (rows, _), (head, _), targets = on_gpu(
        *projections(300, 50258, (768, 768), dtype=torch.bfloat16)
    )
    kl = vocabulary_statistics([rows, rows], [head, head], targets, 50257)[1]
    assert kl.abs().max() <= 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_draws_at_full_size(dtype):
    (rows,), (head,), _ = on_gpu(*projections(100, 50258, (768,), dtype=dtype))
    found, right = (
        project_and_draw(rows, head, 50257, 3, range(100), range(100), impl=i)
        for i in ("auto", "reference")
    )
    assert (found == right).double().mean() >= 0.98  # but for ties


@torch.no_grad()  # else half precision is widened before the product
def test_half_precision_projects_into_fp32():
    (rows,), (head,), _ = on_gpu(*projections(40, 500, (64,), dtype=torch.bfloat16))
    logits = project(rows, head, 499)
    assert logits.dtype == torch.float32
    exact = reference.log_probabilities(rows, head, 499)
    torch.testing.assert_close(logits.double().log_softmax(-1), exact, rtol=1e-5, atol=1e-5)


@pytest.fixture
def checkpoint(random_model, tmp_path):
    random_model(1, vocab_size=50, n_blocks=3, hidden_dim=64).save_pretrained(tmp_path)
    return str(tmp_path)


def test_the_engine_draws_what_the_cpu_draws(checkpoint):
    schedule, drawn = parse("H60", "h"), {}
    for device in ("cpu", "cuda"):
        denoisers = {"h": load_checkpoint(checkpoint, device)}
        drawn[device] = sampler.sample(
            denoisers, schedule, range(8), 32, seed=3, batch_size=4
        ).cpu()
    # A tie at an early step changes what follows it, so that samples count, not tokens.
    assert (drawn["cpu"] == drawn["cuda"]).all(1).double().mean() >= 0.75


def test_the_replayed_body_equals_the_eager_one(checkpoint):
    model = load_checkpoint(checkpoint, "cuda", "bfloat16")
    for rows, queries in ((1, 1), (5, 8), (BATCHES[0], 9), (5, 8)):
        z, t = torch.randint(0, 49, (rows, 32), device="cuda"), torch.rand(rows, device="cuda")
        at = torch.randint(0, 32, (rows, queries), device="cuda")
        torch.testing.assert_close(
            model.replayed(z, t, at).clone(), model.hidden(z, t, at), rtol=0.05, atol=0.05
        )


def test_nothing_in_the_event_loop_waits_for_the_device(checkpoint):
    denoisers = {"h": load_checkpoint(checkpoint, "cuda", "bfloat16")}
    schedule = parse("H60", "h")
    sampler.sample(denoisers, schedule, range(4), 32, seed=0, batch_size=4)  # compiles
    state = sampler.begin(range(4), 32, 60, denoisers["h"].mask_id, seed=1, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.no_grad():
            list(sampler.advance(state, denoisers, schedule, seed=1, batch_size=4))
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    "attn, package", [("flash_attention_2", "flash_attn"), ("flash_attention_4", "flash_attn.cute")]
)
def test_flash_attention_equals_sdpa(checkpoint, attn, package):
    pytest.importorskip(package, reason=f"{attn} needs {package}")
    bodies = [load_checkpoint(checkpoint, "cuda", "bfloat16", one).hidden for one in ("sdpa", attn)]
    z, at = (
        torch.randint(0, 49, (4, 32), device="cuda"),
        torch.randint(0, 32, (4, 8), device="cuda"),
    )
    for arguments in ((z,), (z, None, at)):
        torch.testing.assert_close(*(body(*arguments) for body in bodies), rtol=0.05, atol=0.05)


def test_curves_are_the_cpus(checkpoint):
    tokens = torch.randint(0, 49, (4, 32), generator=torch.Generator().manual_seed(0))
    uniforms, found = torch.rand(4, 32, generator=torch.Generator().manual_seed(1)), {}
    for device in ("cpu", "cuda"):
        denoisers = {
            "h": load_checkpoint(checkpoint, device),
            "l": load_checkpoint(checkpoint, device),
        }
        found[device] = measure.measure_chunk(
            denoisers, tokens, uniforms, [0.3, 1.0], NoiseSchedule("linear")
        )
    torch.testing.assert_close(
        found["cuda"]["ce"]["h"], found["cpu"]["ce"]["h"], rtol=1e-3, atol=1e-3
    )
    assert abs(found["cuda"]["kl"]["l"]).max() <= 1e-4
