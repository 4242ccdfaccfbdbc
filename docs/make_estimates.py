"""Writes docs/estimates.md, what the paper's protocol costs by arithmetic alone: python
docs/make_estimates.py.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from stepimp.estimates.work import Work, curves_work, sampling_work, search_work
from stepimp.models.mdlm import MDLMForMaskedLM
from stepimp.models.mdlm_config import MDLMConfig
from stepimp.paper.numbers import paper
from stepimp.quality.candidates import papers_seven, sandwiches
from stepimp.search.coarse import Coarse
from stepimp.wording import duration

PEAK = 989e12  # FLOPs a second of an H100 SXM in bf16 without sparsity, by its data sheet
UTILISATION = 0.3
JUDGE = 774e6  # parameters of GPT-2 large
POINTS, BATCH = 20, 32
GPUS = (1, 8)

HEAD = f"""# What the paper's protocol costs

Arithmetic, not measured: the forward passes that `stepimp estimate` counts, times the FLOPs of the
models, at {UTILISATION:.0%} of the {PEAK / 1e12:.0f} TFLOPS that the data sheet of an H100 SXM
states for bf16. Eight GPUs count as eight times one. Loading, reading text and the bootstrap are
left out. A multiply-add counts as two FLOPs. `stepimp estimate COMMAND` times your own models on
your own machine instead, and `stepimp estimate reproduce --scale full` all experiments of the paper.

This page is written by `python docs/make_estimates.py`.
"""

Costs = Callable[[int], dict[str, tuple[float, float]]]
"""Length of the sequences -> model -> FLOPs of a forward pass and of a row."""


def mdlm_costs(length: int) -> dict[str, tuple[float, float]]:
    """Of the paper's models: 12 to 4 blocks of width 768, V = 50258."""
    costs = {}
    for blocks in paper()["setup"]["depths"]:
        config = MDLMConfig(n_blocks=blocks, vocab_size=50258, model_length=length, noise="linear")
        with torch.device("meta"):
            costs[f"{blocks}b"] = MDLMForMaskedLM(config).flops(length)
    return costs | {"12b_seed2": costs["12b"]}


def llada_costs(length: int) -> dict[str, tuple[float, float]]:
    """Of LLaDA 8B (32 blocks of width 4096, SwiGLU of 12288, V = 126464) and half of its blocks."""
    width, inner, vocabulary = 4096, 12_288, 126_464
    block = length * (2 * (4 * width**2 + 3 * width * inner) + 4 * length * width)
    return {f"{n}b": (float(n * block), 2.0 * width * vocabulary) for n in (32, 16)}


def protocol(heavy: str, lights: list[str], baseline: str | None) -> dict[str, Work]:
    """The paper's experiments at its sample counts, and our number of times for the curves."""
    setup = paper()["setup"]
    length, steps, samples = (setup["owt"][name] for name in ("length", "steps_T", "samples"))
    models = [heavy, *lights, *filter(None, [baseline])]
    light = lights[0]

    def sampled(plans, length=length, given=0) -> Work:
        work = sampling_work(plans, samples, length, length - given, BATCH, BATCH, not given)
        work.texts = len(plans) * samples
        return work

    def seven(steps, *lights):
        every = [plan for light in lights for plan in papers_seven(steps, heavy, light)]
        return list(dict.fromkeys(candidate.schedule for candidate in every))

    swept = sandwiches(steps, [k / 10 for k in range(11)], heavy, light)
    searched = setup["search"]
    coarse = Coarse(heavy, light, steps, searched["segments"], searched["light_segments"])
    sequences = setup["similarity"]["sequences_per_timestep"]
    short, few = setup["lm1b"]["length"], setup["lm1b"]["steps_T"]
    return {
        f"kl and loss, {sequences} sequences, {POINTS} times": curves_work(
            models, sequences, 1, POINTS, length, BATCH
        ),
        f"compare, seven schedules for each light model, {samples} samples": sampled(
            seven(steps, *lights)
        ),
        f"compare, light fractions 0 to 1, {samples} samples": sampled(
            [candidate.schedule for candidate in swept]
        ),
        f"compare, prefix of 256 tokens, {samples} samples": sampled(
            seven(steps, light), given=256
        ),
        f"compare, prefix of 128 tokens, {samples} samples": sampled(
            seven(steps, light), given=128
        ),
        f"compare, L = {short}, T = {few}, {samples} samples": sampled(seven(few, light), short),
        f"search, {len(coarse)} schedules, {searched['samples_per_schedule']} samples": search_work(
            coarse, searched["samples_per_schedule"], length, BATCH, BATCH
        ),
    }


def table(works: dict[str, Work], costs: Costs) -> str:
    """A row per experiment, and their sum."""
    lines = [f"| experiment | forward passes | FLOPs | {' | '.join(map(time_on, GPUS))} |"]
    lines.append("|---|" + "---:|" * (2 + len(GPUS)))
    sums = [0.0, 0.0]
    for name, work in works.items():
        judged = 2 * JUDGE * work.length * work.texts
        row = [float(sum(work.forwards.values())), work.flops(costs(work.length)) + judged]
        sums = [total + part for total, part in zip(sums, row)]
        lines.append(line(name, *row))
    return "\n".join([*lines, line("all", *sums)])


def time_on(gpus: int) -> str:
    return f"{gpus} GPU{'s' if gpus > 1 else ''}"


def line(name: str, forwards: float, flops: float) -> str:
    times = [duration(flops / (PEAK * UTILISATION * gpus)) for gpus in GPUS]
    return f"| {name} | {round(forwards, -3):,.0f} | {flops:.2e} | {' | '.join(times)} |"


def page() -> str:
    """The whole page."""
    lights = [f"{blocks}b" for blocks in paper()["setup"]["depths"] if blocks < 12]
    return "\n".join(
        [
            HEAD,
            "## The paper's models: 12, 10, 8, 6 and 4 blocks of width 768, L = 1024, T = 1000\n",
            table(protocol("12b", lights, "12b_seed2"), mdlm_costs),
            "\nThe judge is GPT-2 large, two FLOPs for a parameter and token.\n",
            "## A pair of 8 and 4 billion parameters: LLaDA 8B and half of its blocks\n",
            "The same experiments with one light model and without a second seed.\n",
            table(protocol("32b", ["16b"], None), llada_costs) + "\n",
        ]
    )


if __name__ == "__main__":
    Path(__file__).with_name("estimates.md").write_text(page(), "utf-8")
