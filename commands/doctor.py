"""`stepimp doctor`: what works on this machine, and a block for bug reports."""

import textwrap

import click

from stepimp.wording import counted

from ._options import json_option
from ._print import print_json, print_table
from ._progress import status

USES = {
    "flash_attention": (
        "FlashAttention 2",
        "needs a CUDA device and flash-attn; without it attention is torch's SDPA",
    ),
    "triton": ("Triton kernels", "need a CUDA device and triton; without them torch computes"),
    "cpp_compiler": ("C++ compiler", "needed by stepimp train --compile alone"),
}


@click.command()
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@json_option("Print what was found as JSON on stdout, nothing else.")
def doctor(device, as_json):
    """Check the installation, with a self-test.

    Shows versions, device, threads, the cache and what can be used. The self-test compares the
    kernels on random inputs, and a bundled model, with their float64 references; it takes a few
    seconds. The last lines are made to be pasted into a bug report. The exit code is 1 if a check
    fails.

    \b
    Example:
      stepimp doctor
    """
    status("Comparing kernels and a bundled model with their float64 references ...")
    from stepimp.doctor import diagnose

    report = diagnose(device)
    if as_json:
        print_json(report)
    else:
        show(report)
    if not all(check["passed"] for check in report["checks"]):
        raise SystemExit(1)


def show(report: dict):
    """The self-test, what can be used, and the block."""
    rows = [
        [
            check["name"],
            f"{check['difference']:.2g}",
            f"{check['allowed']:g} {check['unit']}",
            "passed" if check["passed"] else "FAILED",
        ]
        for check in report["checks"]
    ]
    print_table(
        f"Self-test against float64, {report['self_test_seconds']} s",
        ["", "largest difference", "allowed", ""],
        rows,
    )
    for key, (name, remark) in USES.items():
        click.echo(wrapped(f"{name}: " + ("yes" if report["usable"][key] else f"no ({remark})")))
    if problem := report["cache"]["problem"]:
        click.echo(problem)
    click.echo("\nFor a bug report, with the command and what it printed:\n\n```")
    click.echo("\n".join(map(wrapped, block(report))))
    click.echo("```")


def wrapped(line: str) -> str:
    """The line, broken between words where it is longer than 80 columns."""
    return textwrap.fill(
        line, 80, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def block(report: dict) -> list[str]:
    """The lines of a bug report: versions, machine, cache and outcome."""
    machine, cache = report["machine"], report["cache"]
    failed = [check["name"] for check in report["checks"] if not check["passed"]]
    packages = [f"{name} {version or '-'}" for name, version in report["versions"].items()]
    commit = f" (commit {report['git_commit'][:12]})" if report["git_commit"] else ""
    stepimp, python, *libraries = packages
    return [
        f"{stepimp}{commit}, {python}, {machine['system']}",
        ", ".join(libraries),
        f"{machine['processor']}, {counted(machine['cores'], 'core')}, "
        f"{counted(machine['threads'], 'thread')} "
        f"(OMP_NUM_THREADS {machine['omp_num_threads'] or 'unset'})",
        f"device {machine['device']}, {machine['free_memory_gb']} GB free, "
        f"{counted(machine['cuda_devices'], 'CUDA device')}",
        "usable: " + (", ".join(name for name, ok in report["usable"].items() if ok) or "none"),
        f"cache {cache['folder']}, {cache['megabytes']} MB",
        f"self-test: {'failed: ' + ', '.join(failed) if failed else 'passed'}",
    ]
