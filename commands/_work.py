"""How much work the commands of `stepimp reproduce` are expected to be, by their sizes alone."""


def work(arguments: list[str], blocks: dict[str, int], length: int) -> float:
    """Tokens times the blocks they go through.

    arguments: of stepimp; blocks: of each model; length: tokens of a sequence where the arguments
    name none."""
    from . import main

    command, *options = arguments
    asked = main.commands[command].make_context(command, options).params
    asked |= default_models(asked, blocks)
    length = asked.get("length") or length
    if command == "recommend":  # reads curves, runs no model
        return 0.0
    if command in ("loss", "kl"):
        models = {asked["heavy"], *asked["lights"], asked["baseline"]} - {None}
        inputs = asked["sequences"] * asked["repeats"] * asked["points"]
        return length * inputs * sum(blocks[model] for model in models)
    return length * asked["samples"] * passes(command, asked, blocks, length)


def default_models(asked: dict, blocks: dict[str, int]) -> dict:
    """The deepest and the shallowest model, where a command line names none."""
    deepest, shallowest = (pick(blocks, key=lambda name: blocks[name]) for pick in (max, min))
    defaults = {"heavy": deepest, "light": shallowest, "lights": (shallowest,)}
    return {name: model for name, model in defaults.items() if name in asked and not asked[name]}


def passes(command: str, asked: dict, blocks: dict[str, int], length: int) -> float:
    """Blocks that one sample of each schedule of a command goes through."""
    from stepimp.sampling.sampler import expected_forwards
    from stepimp.schedules.schedule import saved_flops

    heavy = asked["heavy"]
    forwards = expected_forwards(length - asked.get("prefix_length", 0), asked["steps"])
    return forwards * sum(
        blocks[heavy] * (1 - saved_flops(one, blocks, heavy)) for one in schedules(command, asked)
    )


def schedules(command: str, asked: dict) -> list:
    """What a command samples with, as often as it does; of a recommendation nothing is known
    yet.
    """
    from stepimp.quality import candidates
    from stepimp.schedules.schedule import Schedule, parse, sandwich
    from stepimp.search.coarse import Coarse, segment_runs

    heavy, steps = asked["heavy"], asked["steps"]
    all_heavy = Schedule.of([heavy] * steps)
    if command == "search":
        coarse = Coarse(heavy, asked["light"], steps, asked["segments"], asked["light_segments"])
        names = coarse.names()
        return [coarse.schedule(names[0])] * round(segment_runs(names) / coarse.segments)
    if command == "profile":
        parts = asked["points"] - 1
        plans = [
            sandwich(steps, round(k * steps / parts), heavy, asked["light"])
            for k in range(parts + 1)
        ]
        return asked["repeats"] * [all_heavy, *plans]
    plans = {
        parse(text, heavy, light, steps) for light in asked["lights"] for text in asked["schedules"]
    }
    for light in asked["lights"]:
        compared = candidates.sandwiches(steps, asked["fractions"] or (), heavy, light)
        if not asked["fractions"] and not asked["schedules"]:
            compared = candidates.papers_seven(steps, heavy, light)
        plans |= {candidate.schedule for candidate in compared}
    return [*plans | {all_heavy}]
