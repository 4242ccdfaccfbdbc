"""What training minimises, where it starts from, and how it is measured on held-out text."""

import torch
from transformers import Trainer

from stepimp.models.mdlm import MDLMForMaskedLM
from stepimp.noise import corrupt
from stepimp.processes import Processes
from stepimp.progress import Progress, no_progress
from stepimp.training.held_out import mean_loss

MIN_T = 1e-3  # the weight 1/t has no upper bound


def low_discrepancy_times(n: int, device) -> torch.Tensor:
    """n times in (MIN_T, 1], one in each of n equal intervals, all shifted by one uniform draw: the
    low-discrepancy sampler of Kingma et al. (arXiv 2107.00630). Returns [n].
    """
    u = torch.rand(1, device=device)
    return MIN_T + (1 - MIN_T) * (1 - (u + torch.arange(n, device=device) / n) % 1)


def nelbo_loss(model: MDLMForMaskedLM, x, t, uniforms, call=None, teacher=None) -> torch.Tensor:
    """Formula (2): mean over the batch of (1/t) sum over masked positions of -log p(x_l | z_t), per
    token.

    x, uniforms: [B, L]; t: [B]. call: what to run in the model's place, its wrapper under several
    processes. teacher: a denoiser whose predictions at z_t take the place of the tokens x_l.
    Returns a scalar in nats per token.
    """
    call = model if call is None else call
    noise, mask_id = model.noise, model.mask_id
    z = corrupt(x, uniforms, t[:, None], mask_id, noise)
    weights = noise.nelbo_weight(t)[:, None].expand(x.shape)
    labels = dict(labels=x.masked_fill(z != mask_id, -100), label_weights=weights)
    if teacher:
        labels["label_probabilities"] = predictions(teacher, z, t)
    return call(z, timesteps=t, **labels).loss


@torch.no_grad()
def predictions(denoiser, z, t) -> torch.Tensor:
    """[n, V] probabilities of the tokens at the n masked positions of z [B, L]. t: [B]."""
    return denoiser.logits(denoiser.hidden(z, t)[z == denoiser.mask_id]).softmax(-1)


@torch.no_grad()
def initialize(model: MDLMForMaskedLM):
    """Starts each block as the identity, by zero output matrices behind open gates, not by DiT's
    zero gates.

    Muon moves every block's output by about as much per step, whatever the depth: embeddings of
    unit variance and gates that shrink with the depth keep that small beside the residual stream,
    so that deep members start as fast.
    """
    torch.nn.init.normal_(model.backbone.vocab_embed.embedding)
    for block in model.backbone.blocks:
        block.adaLN_modulation.bias.view(6, model.config.hidden_dim)[[2, 5]] = 4 / model.blocks
        block.attn_out.weight.zero_()
        block.mlp[2].weight.zero_()


def block_matrices(model: MDLMForMaskedLM) -> list[torch.nn.Parameter]:
    """The weights of attention and MLP in all blocks, what Muon is for."""
    return [
        p
        for name, p in model.named_parameters()
        if p.ndim == 2 and ".blocks." in name and "adaLN" not in name
    ]


class MDLMTrainer(Trainer):
    """The weighted objective; the random draws come from the Trainer's seeded generators, so a
    resume repeats them.
    """

    def __init__(self, *args, teacher=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.teacher = teacher

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        x = inputs["input_ids"]
        t = low_discrepancy_times(len(x), x.device)
        bare = self.accelerator.unwrap_model(model)
        loss = nelbo_loss(bare, x, t, torch.rand(x.shape, device=x.device), model, self.teacher)
        return (loss, {}) if return_outputs else loss


@torch.no_grad()
def evaluate_nelbo(
    model: MDLMForMaskedLM,
    tokens: torch.Tensor,
    batch_size: int = 32,
    processes: Processes | None = None,
    progress: Progress = no_progress,
) -> float:
    """NELBO per token in nats on [N, L] blocks: one time per sequence, stratified over (0, 1].

    processes, progress: as for `mean_loss`.
    """
    generator = torch.Generator().manual_seed(0)
    times = (torch.arange(len(tokens)) + 0.5) / len(tokens)
    times = times[torch.randperm(len(tokens), generator=generator)]
    uniforms = torch.rand(tokens.shape, generator=generator)

    def loss(rows: torch.Tensor) -> float:
        x, *drawn = (part[rows].to(model.device) for part in (tokens, times, uniforms))
        return nelbo_loss(model, x.long(), *drawn).item()

    return mean_loss(loss, len(tokens), batch_size, processes, progress)
