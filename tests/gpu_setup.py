"""What the stages of the GPU benchmark share: sizes, random models, timing and judging of goals."""

import statistics
import time

import torch

from stepimp.models.checkpoints import fingerprint
from stepimp.models.cuda_graphs import FEWEST_QUERIES
from stepimp.models.mdlm import MDLMForMaskedLM
from stepimp.models.mdlm_config import MDLMConfig

DEPTHS = {"12b": 12, "10b": 10, "8b": 8, "6b": 6, "4b": 4, "12b_seed2": 12}
FULL = dict(
    depths=DEPTHS,
    width=768,
    heads=12,
    vocab=50258,
    length=1024,
    batch=32,
    steps=1000,
    rows=16384,
    square=8192,
    times=5,
    repeats=3,
)
# To run through all of it where there is no GPU; its figures mean nothing.
TINY = dict(
    depths={"12b": 2, "4b": 1, "12b_seed2": 2},
    width=32,
    heads=2,
    vocab=70,
    length=12,
    batch=2,
    steps=8,
    rows=5,
    square=64,
    times=1,
    repeats=1,
)


def build(size: dict, device, dtype, attn: str, frozen=True) -> dict[str, MDLMForMaskedLM]:
    """Random models whose logits have about unit variance; frozen: ready for inference."""
    models = {}
    for seed, (name, blocks) in enumerate(size["depths"].items()):
        torch.manual_seed(seed)
        model = MDLMForMaskedLM(
            MDLMConfig(
                n_blocks=blocks,
                model_length=size["length"],
                hidden_dim=size["width"],
                n_heads=size["heads"],
                vocab_size=size["vocab"],
                noise="linear",
            )
        )
        torch.nn.init.normal_(model.backbone.output_layer.linear.weight, std=size["width"] ** -0.5)
        for block in model.backbone.blocks:
            torch.nn.init.normal_(block.adaLN_modulation.bias, std=0.3)
        model.set_attn_implementation(attn)
        model.fingerprint = fingerprint(model)
        model.to(device, dtype)
        models[name] = model.freeze() if frozen else model
    return models


def now(device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds(device, repeats: int, **ways) -> dict[str, float]:
    """Median seconds of each way. They take turns, and a first round is not counted."""
    spent = {name: [] for name in ways}
    for _ in range(1 + repeats):
        for name, way in ways.items():
            start = now(device)
            way()
            spent[name].append(now(device) - start)
    return {name: statistics.median(values[1:]) for name, values in spent.items()}


def extra_bytes(device, function) -> float:
    """Peak memory of a call beyond what was allocated before it."""
    if device.type != "cuda":
        return float("nan")
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    function()
    return float(torch.cuda.max_memory_allocated(device) - before)


def inputs(models: dict, size: dict, n: int):
    """n rows per model, their heads and targets."""
    device, dtype = models["12b"].device, models["12b"].dtype
    draw = torch.Generator(device).manual_seed(0)
    rows = [torch.randn(n, size["width"], generator=draw, device=device).to(dtype) for _ in models]
    targets = torch.randint(0, size["vocab"] - 1, (n,), generator=draw, device=device)
    return rows, [model.head() for model in models.values()], targets


def a_batch(model, size: dict):
    """z, t and positions as the sampler passes them."""
    shape, device = (size["batch"], size["length"]), model.device
    z = torch.randint(0, model.vocab_size, shape, device=device)
    at = torch.randint(0, size["length"], (size["batch"], FEWEST_QUERIES), device=device)
    return z, torch.full((len(z),), 0.5, device=device, dtype=torch.float64), at


def body_of(model):
    """The body that the sampler calls."""
    return model.replayed or model.hidden


def require(what: str, error: float, most: float):
    print(f"{what}: {error:.1e}")
    if not error <= most:
        raise SystemExit(f"{what} is over {most}: something is wrong, and no speed is reported.")


def row(measure: str, value: float, goal: str = "", **details) -> dict:
    """goal: such as ">= 8"; empty for a figure without one."""
    reached = None
    if goal:
        sign, number = goal.split()
        reached = value >= float(number) if sign == ">=" else value <= float(number)
    return {"measure": measure, "value": value, "goal": goal, "reached": reached, **details}
