"""How well the members of a family copy from their context: python tests/probe_copying.py [FAMILY].

Held-out text is masked at t = 0.5. A masked token can be copied if a visible neighbour of it stands
elsewhere next to the same token, on the same side and both visible. Printed per member: its loss at
those tokens and at the other masked ones, less the first member's, with 95% intervals over
sequences; and the head whose attention goes from masked tokens most to tokens with the same left
neighbour, or the same right one: an induction head."""

import sys

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from transformers import AttentionInterface

from stepimp import intervals
from stepimp.models.checkpoints import load_checkpoint
from stepimp.models.family import corpus, family_folder, read_manifest
from stepimp.models.layers import eager_attention
from stepimp.models.loading import open_tokenizer
from stepimp.text.blocks import load_blocks

SEQUENCES, T = 400, 0.5
attended = []  # [B, H, L, L] per block of the last forward pass


def watched_attention(*arguments, **options):
    out, probabilities = eager_attention(*arguments, **options)
    attended.append(probabilities)
    return out, probabilities


def same_neighbour(z: torch.Tensor, mask_id: int, side: int) -> torch.Tensor:
    """[B, L, L]: whether masked token l has the same visible neighbour as visible token j; side -1
    left, 1 right.
    """
    neighbour = F.pad(z, (1, 1), value=mask_id)[:, 1 + side : 1 + side + z.shape[1]]
    same = (neighbour[:, :, None] == neighbour[:, None]) & (neighbour != mask_id)[:, :, None]
    return same & (z == mask_id)[:, :, None] & (z != mask_id)[:, None]


def sharpest_head(like: torch.Tensor) -> tuple[float, str]:
    """Mean attention to the tokens marked in `like`, of the head that gives them most, and that
    head.
    """
    asks = like.any(-1)
    shares = {
        f"{block}.{head}": (p[:, head] * like).sum(-1)[asks].mean().item()
        for block, p in enumerate(attended)
        for head in range(p.shape[1])
    }
    head = max(shares, key=shares.get)
    return shares[head], head


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    folder = family_folder(*sys.argv[1:])
    AttentionInterface.register("watched", watched_attention)
    blocks = {name: facts["blocks"] for name, facts in read_manifest(folder)["members"].items()}
    names = sorted(blocks, key=lambda name: (-blocks[name], name))
    members = {name: load_checkpoint(str(folder / name)) for name in names}
    first, config = names[0], members[names[0]].config
    mask_id = members[first].mask_id
    x = load_blocks(
        corpus(folder), open_tokenizer(str(folder)), config.model_length, "heldout"
    ).tokens
    generator = torch.Generator().manual_seed(0)
    x = x[torch.randperm(len(x), generator=generator)[:SEQUENCES]].long()
    z = x.masked_fill(torch.rand(x.shape, generator=generator) < T, mask_id)
    left, right = (same_neighbour(z, mask_id, side) for side in (-1, 1))
    copied = ((left | right) & (x[:, :, None] == x[:, None])).any(-1)
    kinds = {"copied": copied, "other": (z == mask_id) & ~copied}
    table = Table(
        "model",
        *(f"{kind}: loss" for kind in kinds),
        "same left",
        "head",
        "same right",
        "head",
        box=None,
    )
    losses = {}
    for name, model in members.items():
        model.set_attn_implementation("watched")
        attended.clear()
        logits = model(z, timesteps=torch.full((len(z),), T)).logits
        losses[name] = F.cross_entropy(logits.transpose(1, 2), x, reduction="none")
        cells = []
        for kind in kinds.values():
            loss = losses[name] - (0 if name == first else losses[first])
            mean, low, _ = intervals.ratio((loss * kind).sum(1), kind.sum(1))
            cells.append(f"{mean:{'' if name == first else '+'}.3f} ±{mean - low:.3f}")
        for like in (left, right):
            share, head = sharpest_head(like)
            cells += [f"{share:.2f}", head]
        table.add_row(name, *cells)
    console = Console()
    console.print(table)
    shares = " and ".join(f"{kind.float().mean() / T:.0%} {name}" for name, kind in kinds.items())
    console.print(
        f"{SEQUENCES} sequences at t = {T}, masked tokens: {shares}. Losses in nats; for all but "
        f"{first} the difference to it."
    )


if __name__ == "__main__":
    main()
