"""Triton's kernels compile for sm_90, without a GPU, and no register is spilled in any shipped
configuration.
"""

import json
import os
import re
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="needs Triton")

# In a process of its own: with the interpreter on, nothing compiles.
SOURCE = """
import json, subprocess, tempfile
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
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(found.asm["cubin"])
        file.flush()
        tool = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        usage = subprocess.run(tool, capture_output=True, text=True, check=True).stdout
    return {"usage": usage, "ptx": found.asm["ptx"], "shared": found.metadata.shared}

def statistics(shape, **constants):
    signature = {"models": "*i64", "sums": "*fp32", "n": "i32", "vocab": "i32", "span": "i32"}
    aligned = ["models", "sums", "span"]
    return compiled(
        triton_statistics._spans, signature, aligned, K=6, UPCAST=False, **shape, **constants
    )

def draw(**constants):
    signature = {"model": "*i64", "names": "*i64", "keys": "*fp64", "tokens": "*i64"}
    signature |= {"n": "i32", "vocab": "i32"}
    shape = {name: getattr(triton_draw, name) for name in ("ROWS", "COLUMNS", "DEPTH")}
    shape |= {"num_warps": triton_draw.WARPS}
    aligned = ["model", "names", "keys", "tokens"]
    return compiled(
        triton_draw._best_of_tiles, signature, aligned, UPCAST=False, **shape, **constants
    )

# Of each shape of tiles the configuration that takes most registers, and what runs in bf16.
print(json.dumps({
    "statistics, bf16": statistics(triton_statistics.LARGE, TYPE=tl.bfloat16, EVEN=True),
    "statistics, fp32, ragged": statistics(triton_statistics.SMALL, TYPE=tl.float32, EVEN=False),
    "draw, bf16": draw(TYPE=tl.bfloat16, EVEN=True),
    "draw, fp32, ragged": draw(TYPE=tl.float32, EVEN=False),
}))
"""
SHARED = 227 * 1024  # bytes that a block may have on sm_90


@pytest.fixture(scope="module")
def kernels():
    """Of each what its machine code uses, its PTX and its shared memory."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", SOURCE], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_no_register_is_spilled(kernels):
    for name, kernel in kernels.items():
        assert re.findall(r"(?:STACK|LOCAL):(\d+)", kernel["usage"]) == ["0", "0"], (
            f"{name}: {kernel['usage']}"
        )


def test_every_kernel_fits_and_multiplies_on_the_tensor_cores(kernels):
    for name, kernel in kernels.items():
        assert kernel["shared"] <= SHARED, name
        assert "wgmma.mma_async" in kernel["ptx"], name
    assert all(
        "cp.async" in kernel["ptx"] for name, kernel in kernels.items() if "ragged" not in name
    )  # pipelined
