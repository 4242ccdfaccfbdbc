"""C++ sources of this folder, compiled on first use for this processor, and calls of them."""

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

FAST = (
    "-fassociative-math -ffinite-math-only -fno-math-errno -fno-signed-zeros -fno-trapping-math"
    " -freciprocal-math"  # -ffast-math, but for what that does to the whole process
)
FLAGS = ["-std=c++17", "-O3", "-march=native", "-shared", "-fPIC", *FAST.split()]
FEW_THREADS = 2  # with more, torch's own operators on all of them are faster than these on one
MULTIPLE = 32  # of all sides of matrices, as panels of the products are 32 columns wide


@functools.cache
def compile_source(name: str, **macros: int) -> ctypes.CDLL | None:
    """The compiled source of this name; None without a C++ compiler or without AVX512-BF16."""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        return None
    source = Path(__file__).with_name(name)
    defined = [f"-D{macro}={value}" for macro, value in macros.items()]
    with tempfile.TemporaryDirectory() as folder:
        target = f"{folder}/{source.stem}.so"
        call = [compiler, *FLAGS, *defined, "-o", target, str(source)]
        if subprocess.run(call, capture_output=True).returncode:
            return None
        return ctypes.CDLL(target)


def pointer(tensor):
    """A C pointer to a tensor's data."""
    return ctypes.c_void_p(tensor.data_ptr())


def pointers(tensors):
    """A C array, or struct, of pointers to the tensors' data."""
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))
