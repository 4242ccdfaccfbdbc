"""Before a run that would take more than an hour: what it would take, and a question.

The estimate is rough: the FLOPs of the forward passes over a rate that most machines reach.
"""

import sys
from pathlib import Path

import click

from stepimp.launcher import launched
from stepimp.memory import free_memory

from ._print import size
from ._work import CURVES, cores, default_models, missing_curves, planned

HOUR = 3600.0
RATE = {"cpu": 3e10, "cuda": 1e13}  # FLOPs per second of one CPU core and of one GPU
FAST_BF16 = 3.0  # times as fast as float32, at least, where the blocks run as one function
MOST_CORES = 4  # that a small model makes use of
FEWEST_FLOPS = 1e5  # of a block for one token: less than the overhead around it
BYTES_PER_TOKEN = 40  # of a sample that is kept in memory
RESAMPLES = 3 * 1001  # numbers per point of a curve while its band is computed
MOST_SEQUENCES = 10_000
TRAINING_COPIES = 6  # of each weight: itself, gradient, optimiser, average


def confirm(params: dict, yes: bool):
    """Asks before a run of the command that is being invoked would take more than an hour.

    params: of the command, with heavy and light models by name. Raises click's UsageError where
    there is nobody to ask, and where the run cannot fit into the memory.
    """
    command = click.get_current_context().info_name or ""
    folder = family_of(params)
    first = missing_curves(command, params, folder)
    params = params | default_models(params, folder)
    params["length"] = length_of(params, folder)
    require_memory(command, params, params["length"])
    work, costs = planned(command, params, folder, first), ModelCosts(folder)
    flops = work.length * sum(count * costs[model] for model, count in work.forwards.items())
    seconds = expected_seconds(flops, params.get("device", "auto"))
    ask(seconds / times_as_fast(params.get("dtype"), params.get("heavy"), folder), yes)


def ask(seconds: float, yes: bool):
    """Asks before a run of this length, unless it is short or agreed to."""
    if yes or seconds <= HOUR or launched()[0] != 0:  # the first process asks
        return
    message = f"This would take about {spoken(seconds)}, less what is finished already."
    if not is_interactive():
        raise click.UsageError(f"{message} Give --yes to run it, or choose smaller numbers.")
    click.confirm(f"{message} Run it?", abort=True, err=True)


def is_interactive() -> bool:
    """Whether there is a person to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def family_of(params: dict) -> Path:
    """The folder of the family that a command is about."""
    from stepimp.models.family import family_folder

    return family_folder(params.get("family"))


def spoken(seconds: float) -> str:
    """`3.5 hours` or `12 days`."""
    hours = seconds / 3600
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:,.0f} days"


def expected_seconds(flops: float, device: str) -> float:
    """Seconds on a CPU; where these are many and a GPU is there, on the GPU."""
    seconds = flops / (RATE["cpu"] * min(cores(), MOST_CORES))
    if seconds > HOUR and device != "cpu":
        import torch

        if torch.cuda.is_available():
            return flops / RATE["cuda"]
    return seconds


def times_as_fast(dtype: str | None, heavy: str | None, folder: Path) -> float:
    """Rate of a model in this dtype over that in float32, roughly."""
    if dtype != "bfloat16" or not heavy:
        return 1.0
    from stepimp.errors import StepimpError
    from stepimp.models.checkpoints import fast_in_bf16
    from stepimp.models.family import resolve

    try:
        return FAST_BF16 if fast_in_bf16(resolve(heavy, folder)) else 1.0
    except StepimpError:
        return 1.0  # it will be refused when it is loaded


class ModelCosts(dict):
    """{model: FLOPs of one token in a forward pass}, from the sizes of its weights; 0 for a model
    that is not on this machine yet.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def __missing__(self, name: str) -> float:
        facts = facts_of(name, self.folder)
        self[name] = max(2.0 * facts["parameters"], FEWEST_FLOPS * facts["blocks"], 1.0)
        return self[name]


def facts_of(name: str, folder: Path) -> dict:
    """Parameters, blocks and longest text of a model, as far as they are known without torch."""
    from stepimp.errors import StepimpError
    from stepimp.models.family import read_manifest, resolve
    from stepimp.models.headers import count_parameters

    facts = read_manifest(folder)["members"].get(name, {})
    try:
        place = Path(resolve(name, folder)).expanduser()
        parameters = facts.get("parameters") or count_parameters(place) or 0
    except (StepimpError, OSError):
        place, parameters = folder / name, 0  # it will be refused when it is loaded
    blocks, length = facts.get("blocks", 0), facts.get("max_length") or longest(place)
    return {"parameters": parameters, "blocks": blocks, "length": length}


def longest(place: Path) -> int:
    """Tokens that a model reads at most by its config.json; 0 where that does not say."""
    from stepimp.checks import parsed

    try:
        config = parsed((place / "config.json").read_bytes())
        return int(config.get("model_length") or config.get("max_position_embeddings") or 0)
    except (OSError, ValueError, TypeError, AttributeError):
        return 0


def length_of(params: dict, folder: Path) -> int:
    """Tokens per sequence: those asked for, else the heavy model's maximum."""
    return params.get("length") or facts_of(params["heavy"], folder)["length"]


def require_memory(command: str, params: dict, length: int):
    """Refuses at once what cannot fit into the memory, by the largest arrays of the command."""
    if command in CURVES:
        models = len(params["lights"]) + 2
        sequences = params["sequences"]
        if params["inputs"] == "text":  # whose length may be less
            sequences = min(sequences, MOST_SEQUENCES)
        numbers = params["points"] * (sequences * 2 * models + RESAMPLES * models)
        what = f"--points {params['points']} and --sequences {params['sequences']}"
        return refuse_over(8 * numbers, what)
    samples = params["samples"]
    refuse_over(BYTES_PER_TOKEN * samples * length, f"--samples {samples}")


def refuse_over(needed: float, what: str):
    """Raises click's UsageError where this many bytes are more than is free."""
    free = free_memory()
    if free is not None and needed > free:
        raise click.UsageError(
            f"{what} would take about {size(needed)} of memory, and {size(free)} are free: choose "
            "smaller numbers."
        )


def confirm_steps(steps, workers: int, yes: bool):
    """Asks before a long `stepimp reproduce`, which runs `workers` of its steps at once."""
    seconds = sum(
        step.work * block_flops(step.folder) / RATE["cpu"] / speed_of(step) for step in steps
    )
    ask(seconds / workers, yes)


def speed_of(step) -> float:
    """`times_as_fast` of a step of `stepimp reproduce`."""
    from stepimp.models.family import default_members

    dtype = "bfloat16" if "bfloat16" in step.arguments else None
    return times_as_fast(dtype, dtype and default_members(step.folder)[0], step.folder)


def block_flops(folder: Path) -> float:
    """FLOPs of a block of the family's deepest member for one token, its vocabulary included."""
    from stepimp.models.family import default_members, read_manifest

    heavy, _ = default_members(folder)
    return ModelCosts(folder)[heavy] / read_manifest(folder)["members"][heavy]["blocks"]


def confirm_training(depths, shape: dict, params: dict, yes: bool):
    """Asks before a long training, and refuses one that cannot fit into the memory.

    depths: numbers of blocks, one for each model to train; shape: width, length, cond_dim and
    vocab_size; params: steps, batch_size and minutes.
    """
    width, length = shape["width"], shape["length"]
    block = 12 * width**2 + 6 * width * shape["cond_dim"]
    rest = 2 * width * shape["vocab_size"] + width * length
    if not depths:
        return
    deepest = max(depths)
    refuse_over(
        4 * TRAINING_COPIES * (deepest * block + rest),
        f"A model of {deepest:,} blocks, width {width:,} and {length:,} tokens",
    )
    per_token = sum(3 * max(2 * (depth * block + rest), FEWEST_FLOPS * depth) for depth in depths)
    tokens = params["steps"] * params["batch_size"] * length
    seconds = expected_seconds(tokens * per_token, "auto")
    ask(min(seconds, 60 * (params.get("minutes") or float("inf"))), yes)


def missing_depths(folder: Path, depths: list[int], baseline_seed: int | None) -> list[int]:
    """Depths of the members that are still to be trained."""
    from stepimp.models.family import read_manifest
    from stepimp.training.recipe import members_to_train

    finished = read_manifest(folder)["members"]
    members = members_to_train(depths, 0, baseline_seed)  # of any seed
    return [depth for name, (depth, _) in members.items() if name not in finished]
