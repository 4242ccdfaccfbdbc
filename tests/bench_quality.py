"""Scoring of text against transformers' own forward pass, on one CPU thread: python
tests/bench_quality.py.

The same random GPT-2 (12 layers, width 768, V = 50257) and the same batch, once with texts of one
length and once with texts of many. First the scores are held against transformers' own loss, text
by text; on a failure no speed is reported. All ways run in one process and take turns; processor
seconds of the one thread are compared."""

from functools import partial

import numpy as np
import torch
from bench_curves import interleaved
from rich.console import Console
from rich.table import Table
from transformers import GPT2Config, GPT2LMHeadModel

from stepimp.quality.judge import Judge
from stepimp.quality.scoring import score

BATCH = 8
LENGTHS = {"one length": [96] * BATCH, "many lengths": [24, 96, 40, 80, 32, 72, 56, 48]}
REPEATS = 3


class Numbers:
    """A tokenizer of texts that are token ids in words."""

    eos_token, eos_token_id, is_fast = None, 50256, False

    def __call__(self, texts, **_):
        return type(
            "Encoded", (), {"input_ids": [[int(word) for word in text.split()] for text in texts]}
        )


def padded(tokens: list[list[int]]):
    """ids, mask and labels as transformers takes them."""
    longest = max(map(len, tokens))
    ids = torch.tensor([row + [Numbers.eos_token_id] * (longest - len(row)) for row in tokens])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in tokens])
    return ids, mask, ids.masked_fill(mask == 0, -100)


def check(judge: Judge, texts: list[str], tokens: list[list[int]]):
    """Perplexities against a plain loop over transformers' loss."""
    rows = [torch.tensor([row]) for row in tokens]
    losses = [judge.model(row, labels=row).loss.item() for row in rows]
    error = np.abs(np.exp(score(judge, texts).log_ppl) / np.exp(losses) - 1).max()
    print(f"perplexities: relative error {error:.1e} against transformers' loss")
    if not error < 1e-5:
        raise SystemExit("The scores are wrong: no speed is reported.")


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    judge = Judge(GPT2LMHeadModel(GPT2Config()).eval(), Numbers(), "random GPT-2", "0")
    draw = np.random.default_rng(0)
    table = Table(
        "texts",
        "stepimp: s",
        "transformers' forward: s",
        "with its loss: s",
        "ratio",
        "with loss",
        "goal",
        title=f"{BATCH} texts scored by GPT-2, processor seconds of one thread",
    )
    for name, lengths in LENGTHS.items():
        tokens = [draw.integers(0, 50256, length).tolist() for length in lengths]
        texts = [" ".join(map(str, row)) for row in tokens]
        ids, mask, labels = padded(tokens)
        check(judge, texts, tokens)
        seconds = interleaved(
            REPEATS,
            ours=partial(score, judge, texts, batch_size=BATCH),
            forward=partial(judge.model, ids, attention_mask=mask),
            loss=partial(judge.model, ids, attention_mask=mask, labels=labels),
        )
        ratios = [seconds["ours"] / seconds[way] for way in ("forward", "loss")]
        table.add_row(
            name,
            *(f"{seconds[way]:.2f}" for way in ("ours", "forward", "loss")),
            *(f"{ratio:.2f}" for ratio in ratios),
            "<= 1",
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
