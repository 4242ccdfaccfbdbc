"""The sampler of the MDLM repository, to compare with published numbers and to measure speed
against.

At every step it draws each masked position from V tokens or "stay masked" by Gumbel noise in 32
bits over all of [B, L, V] (its `ddpm_cache`). The noise's granularity of 2^-24 cuts off unlikely
tokens, which lowers both generative perplexity and entropy; `stepimp.sampling.sampler` has neither
the cost nor the cut.
"""

import torch

from stepimp.models.denoiser import Denoiser
from stepimp.sampling.state import Counts, check, template
from stepimp.schedules.schedule import Schedule

LAST_T = 1e-5


@torch.no_grad()
def sample(
    denoisers: dict[str, Denoiser],
    schedule: Schedule,
    indices,
    length: int,
    *,
    seed: int,
    prefix: torch.Tensor | None = None,
    batch_size: int = 16,
    rounding: torch.dtype | None = torch.bfloat16,
    counts: Counts | None = None,
) -> torch.Tensor:
    """Draws the samples with these indices: [N, length] tokens.

    prefix: [P] tokens for all samples, or [N, P]; mask tokens among them are drawn. rounding: dtype
    of the log-probabilities, None for the models' own. Raises StepimpError as `sampler.check` does.
    """
    check(denoisers, schedule, length, prefix)
    counts = counts or Counts()
    drawn = []
    for start in range(0, len(indices), batch_size):
        part = slice(start, start + batch_size)
        given = prefix if prefix is None or prefix.ndim == 1 else prefix[part]
        arguments = (denoisers, schedule, indices[part], length, seed, given, rounding, counts)
        drawn.append(_batch(*arguments))
    return torch.cat(drawn)


def _batch(denoisers, schedule, indices, length, seed, prefix, rounding, counts):
    first = denoisers[schedule.models[0]]
    device, mask_id = first.device, first.mask_id
    generators = [
        torch.Generator(device).manual_seed(((seed << 32) + int(index)) % 2**63)
        for index in indices
    ]
    x = template(length, prefix, first).expand(len(indices), length).to(device)
    names = schedule.by_step()[::-1]
    dt = (1 - LAST_T) / schedule.steps
    computed_by = None
    for i, name in enumerate(names + names[-1:]):
        t = 1 - i * dt
        if computed_by != name:
            computed_by = name
            p = probabilities(denoisers[name], x, t, rounding)
            counts.forward(name, len(x))
            counts.projected[name] += x.numel()
        masked = x == mask_id
        if i == schedule.steps:  # positions still masked after the last step: the likeliest token
            return torch.where(masked, p.argmax(-1), x)
        drawn = draw(p, t, dt, mask_id, generators)
        after = torch.where(masked, drawn, x)
        # Logits are used again only while no position of any row has changed.
        if not torch.equal(after, x) or denoisers[name].time_conditioned:
            computed_by = None
        x = after


def draw(probabilities, t: float, dt: float, mask_id: int, generators) -> torch.Tensor:
    """[B, L] outcomes of Gumbel-max in 32 bits: a token with probability p dt, the mask token with
    t - dt.

    probabilities: [B, L, V]; generators: one per row.
    """
    outcomes = probabilities * dt
    outcomes[..., mask_id] = t - dt
    noise = torch.stack(
        [torch.rand(outcomes.shape[1:], generator=g, device=outcomes.device) for g in generators]
    )
    return outcomes.div_(noise.add_(1e-10).log_().neg_().add_(1e-10)).argmax(-1)


def probabilities(
    denoiser: Denoiser, x: torch.Tensor, t: float, rounding: torch.dtype | None
) -> torch.Tensor:
    """[B, L, V] p_theta(. | x, t), the log-probabilities rounded to `rounding`. x: [B, L]."""
    clock = torch.full((len(x),), t, device=x.device)
    hidden = denoiser.hidden(x, clock)
    log_p = denoiser.logits(hidden.flatten(0, 1)).log_softmax(-1).view(*x.shape, -1)
    return log_p.exp() if rounding is None else log_p.to(rounding).exp().float()
