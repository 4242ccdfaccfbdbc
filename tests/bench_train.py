"""Speed of a training step on one CPU thread, and that it learns the same: python
tests/bench_train.py.

First the losses of 300 steps are compared, of 4 blocks in both ways from one start; where they part
no speed is reported. Then whole steps (forward, backward, clipping, optimizer, average) of both
ways take turns in one process. Seconds are processor seconds, the least of all turns. The plain
way is torch's: mixed precision, attention in eager mode, the blocks compiled, Muon's matrices in
batches."""

import time

import torch
from rich.console import Console
from rich.table import Table

from stepimp.models.mdlm import MDLMForMaskedLM
from stepimp.models.mdlm_config import MDLMConfig
from stepimp.training.callbacks import EMA
from stepimp.training.muon import MuonAdamW
from stepimp.training.objective import (
    block_matrices,
    initialize,
    low_discrepancy_times,
    nelbo_loss,
)
from stepimp.training.speed import fused, speed_up

VOCAB, LENGTH, BATCH, STEPS, TURNS = 260, 256, 16, 300, 5
SHAPES = [(64, 2, 12), (64, 1, 12), (128, 2, 12)]  # width, heads, blocks


class Training:
    """A model, its optimizer and average, and steps on a text of which more can be learned."""

    def __init__(self, width: int, heads: int, blocks: int, plain: bool):
        torch.manual_seed(0)
        config = MDLMConfig(
            vocab_size=VOCAB,
            model_length=LENGTH,
            hidden_dim=width,
            cond_dim=4,
            n_blocks=blocks,
            n_heads=heads,
            dropout=0.0,
            noise="linear",
        )
        self.model = MDLMForMaskedLM(config).train()
        self.model.set_attn_implementation("eager")
        initialize(self.model)
        if plain:
            for block in self.model.backbone.blocks:
                block.compile(dynamic=False)
        else:
            speed_up(self.model, bf16=True)
        self.optimizer = MuonAdamW(self.model, block_matrices(self.model), 0.015, 0.007)
        self.optimizer.parts[0].native = not plain
        self.average = EMA(self.model, 0.99)
        self.average.start(None)
        self.draws = torch.Generator().manual_seed(1)

    def text(self) -> torch.Tensor:
        """[B, L] tokens: words of 8, each from a list of 64."""
        words = torch.randint(VOCAB - 1, (64, 8), generator=torch.Generator().manual_seed(2))
        chosen = torch.randint(64, (BATCH, LENGTH // 8), generator=self.draws)
        return words[chosen].flatten(1)

    def step(self) -> float:
        x, t = self.text(), low_discrepancy_times(BATCH, "cpu")
        uniforms = torch.rand(x.shape, generator=self.draws)
        with torch.autocast("cpu", torch.bfloat16):
            loss = nelbo_loss(self.model, x, t, uniforms)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.on_step_end(None, None, None)
        return loss.item()


def losses(plain: bool) -> torch.Tensor:
    """[10] mean losses of 30 steps each."""
    training = Training(64, 2, 4, plain)
    torch.manual_seed(3)
    return torch.tensor([training.step() for _ in range(STEPS)]).view(10, -1).mean(1)


def check():
    plain, ours = losses(plain=True), losses(plain=False)
    for name, values in (("plain", plain), ("ours", ours)):
        print(f"{name:6}" + " ".join(f"{value:.3f}" for value in values.tolist()))
    if not (plain - ours).abs().max() < 0.05 or not ours[-1] < ours[0] / 2:
        raise SystemExit("The losses differ: no speed is reported.")


def main():
    torch.set_num_threads(1)
    if Training(64, 2, 1, plain=False).model.run_blocks is not fused:
        raise SystemExit("Needs a C++ compiler and a processor with AVX512-BF16.")
    check()
    table = Table("width", "heads", "plain: tokens/s", "ours: tokens/s", "ratio", "goal")
    for shape in SHAPES:
        ways = [Training(*shape, plain=plain) for plain in (True, False)]
        least = [float("inf")] * 2
        for turn in range(TURNS):
            for i, way in enumerate(ways):
                start = time.process_time()
                way.step()
                if turn:
                    least[i] = min(least[i], time.process_time() - start)
        plain, ours = (BATCH * LENGTH / seconds for seconds in least)
        width, heads, _ = map(str, shape)
        table.add_row(width, heads, f"{plain:,.0f}", f"{ours:,.0f}", f"{ours / plain:.2f}", ">= 2")
    Console().print(table)


if __name__ == "__main__":
    main()
