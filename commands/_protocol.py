"""Which commands measure what the paper measured, and with how many samples."""

import click

SAMPLED = ("compare", "search")  # commands that --dtype is for

# samples and sequences for each need, else for each command; all at the paper's T
QUICK = {
    "kl": ["--sequences", "200"],
    "compare": ["--samples", "40"],
    "lm1b": ["--samples", "240"],
    "search": ["--samples", "12"],
    "profile": ["--samples", "4"],
}
FULL = {
    "kl": ["--sequences", "500"],
    "compare": ["--samples", "1600"],
    "search": ["--samples", "160"],
    "profile": ["--samples", "32"],
}


def plan(scale: str, family: str | None, group: click.Group, dtype: str) -> list:
    """The steps: first the curves and what reads them, then the others, the longest first.

    group: stepimp, whose commands are the steps. Raises StepimpError where there is no family.
    """
    from stepimp.models.family import MANIFEST, family_folder
    from stepimp.paper.contents import OPTIONAL
    from stepimp.paper.needs import LM1B_NEEDS, NEEDS, READS
    from stepimp.paper.recipes import arguments, family_of, members_of

    from ._steps import Step
    from ._work import block_tokens, step_params

    members_of(family_folder(family))
    sizes = FULL if scale == "full" else QUICK
    needs_of: dict[tuple[str, ...], list[str]] = {}
    folders = {}
    for need, (command, _) in NEEDS.items():
        folder = family_folder(family_of(need, family))
        if need in OPTIONAL:
            continue
        if need not in LM1B_NEEDS or (folder / MANIFEST).exists():
            source = "kl" if need == "loss" else need  # two views of the same curves
            options = list(sizes.get(need) or sizes.get(NEEDS[source][0], []))
            if command in SAMPLED and (wanted := sampled_in(dtype, folder)) != "float32":
                options += ["--dtype", wanted]
            line = tuple(arguments(source, family, options))
            needs_of.setdefault(line, []).append(need)
            folders[line] = folder
    steps = []
    for line, needs in needs_of.items():
        reads = frozenset().union(*(READS.get(need, ()) for need in needs))
        work = block_tokens(*step_params(line, group), folders[line], reads)
        steps.append(Step(line, folders[line], tuple(needs), reads, work))
    read_by_others = frozenset().union(*READS.values())
    return sorted(steps, key=lambda step: (read_by_others.isdisjoint(step.needs), -step.work))


def sampled_in(dtype: str, folder) -> str:
    """The dtype that "auto" stands for with this family, or the one that was asked for."""
    from stepimp.models.checkpoints import fast_in_bf16
    from stepimp.models.family import default_members, resolve

    if dtype != "auto":
        return dtype
    heavy, _ = default_members(folder)
    return "bfloat16" if fast_in_bf16(resolve(heavy, folder)) else "float32"


def is_there(results, step) -> bool:
    """Whether this very command line made a document, and the family has not been trained since."""
    from pathlib import Path

    from stepimp.documents import command_of, headers_in
    from stepimp.models.family import MANIFEST
    from stepimp.paper.needs import kinds

    trained = (step.folder / MANIFEST).stat().st_mtime
    return any(
        command_of(header)[1:] == list(step.arguments)
        for header in headers_in(results, tuple(kinds(step.needs[0])))
        if Path(header["path"]).stat().st_mtime >= trained
    )
