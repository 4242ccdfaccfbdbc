"""The Slurm script of docs/several-machines.md, with two nodes that are both this machine."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "several-machines.md"
SCONTROL = """#!/bin/bash
[ "$*" = "show hostnames node[1-2]" ] && printf 'localhost\\nnode2\\n'
"""
SRUN = """#!/bin/bash
export SLURM_STEP_NUM_TASKS=2 SLURM_NTASKS=2
for task in 0 1; do
    SLURM_PROCID=$task STEPIMP_RESULTS=results-$task STEPIMP_CACHE=$PWD/cache-$task \\
        "$@" > out-$task 2> err-$task &
done
wait -n && wait -n
"""
TORCHRUN = f"""#!/bin/bash
exec {sys.executable} -m torch.distributed.run "$@"
"""


def slurm_script(command: str) -> str:
    """The page's script for another command and one process for each node."""
    (script,) = re.findall(r"### Slurm\n\n```\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    for old, new in [
        ("--nproc-per-node 4", "--nproc-per-node 1"),
        ("29500", port),
        ("compare --samples 1600", command),
    ]:
        assert script.count(old) == 1
        script = script.replace(old, new)
    return script


def test_the_script_of_the_page_shares_the_work_of_two_nodes(tmp_path, tiny_family, tiny_text):
    for name, text in {"scontrol": SCONTROL, "srun": SRUN, "torchrun": TORCHRUN}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    options = "--heavy 2b --light 1b --sequences 4 --points 2 --length 8 --batch-size 1"
    script = slurm_script(f"kl {options} --family {tiny_family} --data {tiny_text} --device cpu")
    job = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_NNODES": "2", "SLURM_JOB_ID": "7"}
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, **job, "PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    said = [
        (tmp_path / f"{stream}-{task}").read_text() for stream in ("out", "err") for task in "01"
    ]
    assert result.returncode == 0, (result.stderr, said)
    (document,) = tmp_path.glob("results-*/curves-*.json")
    assert len(json.loads(document.read_text())["rows"]) == 2
    assert sorted(map(bool, said[:2])) == [False, True], "one node prints"
