"""Triton's kernels compile for sm_90, without a GPU, and ptxas spills no register in any shipped configuration."""

import json
import os
import re
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="needs Triton")

# In a process of its own: with the interpreter on, nothing compiles.
SOURCE = """
import json, os, subprocess, sys, tempfile
import triton, triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from stepimp.kernels import triton_draw, triton_statistics

def compiled(kernel, signature, aligned, num_warps, num_stages=3, **constants):
    at = kernel.arg_names.index
    source = ASTSource(
        kernel, signature=signature | dict.fromkeys(constants, "constexpr"),
        constexprs={(at(name),): value for name, value in constants.items()},
        attrs={(at(name),): [["tt.divisibility", 16]] for name in aligned},
    )
    options = {"num_warps": num_warps, "num_stages": num_stages}
    found = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(found.asm["ptx"])
        file.flush()
        tool = [triton.knobs.nvidia.ptxas.path, "-v", "-arch=sm_90a", file.name, "-o", os.devnull]
        said = subprocess.run(tool, capture_output=True, text=True, check=True).stderr
    return {"said": said, "ptx": found.asm["ptx"], "shared": found.metadata.shared}

def statistics(shape, **constants):
    signature = {"models": "*i64", "sums": "*fp32", "n": "i32", "vocab": "i32", "span": "i32"}
    return compiled(triton_statistics._spans, signature, ["models", "sums", "span"], K=6, UPCAST=False, **shape, **constants)

def draw(**constants):
    signature = {"model": "*i64", "names": "*i64", "keys": "*fp64", "tokens": "*i64", "n": "i32", "vocab": "i32"}
    shape = {name: getattr(triton_draw, name) for name in ("ROWS", "COLUMNS", "DEPTH")}
    return compiled(triton_draw._best_of_tiles, signature, ["model", "names", "keys", "tokens"], num_warps=triton_draw.WARPS,
                    UPCAST=False, **shape, **constants)

LARGE, SMALL = triton_statistics.LARGE, triton_statistics.SMALL
print(json.dumps({
    "statistics, bf16": statistics(LARGE, TYPE=tl.bfloat16, EVEN=True),
    "statistics, bf16, ragged": statistics(SMALL, TYPE=tl.bfloat16, EVEN=False),
    "statistics, fp32": statistics(SMALL, TYPE=tl.float32, EVEN=True),
    "statistics, fp32, ragged": statistics(SMALL, TYPE=tl.float32, EVEN=False),
    "draw, bf16": draw(TYPE=tl.bfloat16, EVEN=True),
    "draw, fp32": draw(TYPE=tl.float32, EVEN=True),
}))
"""
SHARED = 227 * 1024  # bytes that a block may have on sm_90


@pytest.fixture(scope="module")
def kernels():
    """What ptxas said of each, its PTX and its shared memory."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-c", SOURCE], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_no_register_is_spilled(kernels):
    for name, one in kernels.items():
        (spilled,) = re.findall(r"(\d+) bytes spill stores", one["said"])
        assert spilled == "0", f"{name}: {one['said']}"


def test_every_kernel_fits_and_multiplies_on_the_tensor_cores(kernels):
    for name, one in kernels.items():
        assert one["shared"] <= SHARED, name
        assert "wgmma.mma_async" in one["ptx"], name
    assert all("cp.async" in one["ptx"] for name, one in kernels.items() if "ragged" not in name)  # pipelined
