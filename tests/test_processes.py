import subprocess
import sys

# Handlers run last in, first out: the first one sees what the group's own has left. The system may list a thread for a
# moment after it has been joined.
SCRIPT = """
import atexit, os, time

def threads():
    names = []
    for task in os.listdir("/proc/self/task"):
        try:
            names.append(open(f"/proc/self/task/{task}/comm").read())
        except OSError:
            pass
    return [name for name in names if "gloo" in name]

@atexit.register
def count():
    end = time.monotonic() + 5
    while threads() and time.monotonic() < end:
        time.sleep(0.01)
    with open(f"left.{processes.rank}", "w") as file:
        print(threads(), file=file)

from stepimp.processes import Processes
processes = Processes()
assert processes.gather({processes.rank: processes.part([10, 20])}) == {0: [10], 1: [20]}
assert threads()
import torch.distributed.nn
"""


def test_no_thread_of_the_group_outlives_it(tmp_path):
    """A thread that lets go of a tensor after the interpreter has ended aborts the process."""
    (tmp_path / "script.py").write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    result = subprocess.run([*torchrun, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert [(tmp_path / f"left.{rank}").read_text() for rank in (0, 1)] == ["[]\n", "[]\n"]
