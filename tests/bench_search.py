"""The search against its 210 schedules run alone, on one CPU thread: python tests/bench_search.py
[--samples N].

Both draw the same samples of the bundled family in fp32 in one process, half of the schedules alone
before the search and half after it, so that a slow spell of the machine hits both. First the tokens
are compared: where one differs, no speed is reported. Seconds are processor seconds of the one
thread. Scoring costs both the same and is left out."""

import argparse
import time

import numpy as np
import torch

from stepimp.models.family import family_folder
from stepimp.models.loading import load
from stepimp.sampling import sampler
from stepimp.search.coarse import Coarse
from stepimp.search.exhaustive import search

LENGTH, STEPS, BATCH = 32, 60, 8
MOST_FORWARDS, MOST_TIME = 0.40, 0.45
cpu = time.process_time


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=8, help="per schedule")
    samples = parser.parse_args().samples
    torch.set_num_threads(1)
    denoisers = load(["12b", "4b"], family_folder(), "cpu").denoisers
    coarse = Coarse("12b", "4b", STEPS)
    tree, alone, drawn, by_itself = sampler.Counts(), sampler.Counts(), [], []

    def score(tokens):
        drawn.append(tokens.clone())
        return np.zeros(len(tokens)), np.zeros(len(tokens))

    def run_alone(names):
        start = cpu()
        for name in names:
            plan = coarse.schedule(name)
            tokens = sampler.sample(
                denoisers, plan, range(samples), LENGTH, seed=0, batch_size=BATCH, counts=alone
            )
            by_itself.append(tokens)
        return cpu() - start

    names, half = coarse.names(), len(coarse) // 2
    alone_seconds, start = run_alone(names[:half]), cpu()
    search(
        denoisers,
        coarse,
        samples,
        LENGTH,
        seed=0,
        score=score,
        batch_size=BATCH,
        chunk=samples,
        counts=tree,
    )
    tree_seconds = cpu() - start
    alone_seconds += run_alone(names[half:])
    different = int((torch.stack(drawn) != torch.stack(by_itself)).sum())
    tokens = torch.stack(drawn).numel()
    if different:
        raise SystemExit(
            f"{different} of {tokens:,} tokens differ from the schedules run alone: no speed is "
            "reported."
        )
    print(
        f"All {tokens:,} tokens of {len(coarse)} schedules are those of each schedule run alone "
        "(fp32)."
    )
    forwards, seconds = tree.forwards.total() / alone.forwards.total(), tree_seconds / alone_seconds
    print(
        f"T={STEPS}, L={LENGTH}, {samples} samples, batch {BATCH}, one thread: "
        f"{tree.forwards.total():,} forward passes of {alone.forwards.total():,}, ratio "
        f"{forwards:.3f} (790/2100 = 0.376); {tree_seconds:.0f} s of {alone_seconds:.0f} s, ratio "
        f"{seconds:.3f}"
    )
    if forwards > MOST_FORWARDS or seconds > MOST_TIME:
        raise SystemExit(
            f"Missed: at most {MOST_FORWARDS} of the forward passes and {MOST_TIME} of the time."
        )


if __name__ == "__main__":
    main()
