"""Muon's step on one CPU thread, in C++ (muon.cpp). torch's operators pass over memory a dozen
times for matrices that fit into the cache, and compute both halves of symmetric products.
"""

import ctypes

import torch
from torch.distributed.tensor import DTensor

from stepimp.kernels.native import FEW_THREADS, MULTIPLE, compile_source, pointers


def steps_natively(tensors: list) -> bool:
    """Whether `muon_step` takes these matrices, averages or gradients."""
    return (
        torch.get_num_threads() <= FEW_THREADS
        and all(
            not isinstance(t, DTensor)
            and t.device.type == "cpu"
            and t.dtype == torch.float32
            and t.is_contiguous()
            and not any(side % MULTIPLE for side in t.shape)
            for t in tensors
        )
        and compile_source("muon.cpp") is not None
    )


def muon_step(matrices, gradients, averages, momentum: float, lr: float, decay: float):
    """Overwrites matrices of one shape and the averages of their gradients.

    average += (1 - momentum) (gradient - average)
    W = (1 - decay) W - lr orthogonalize(gradient + momentum (average - gradient))

    with `kernels.reference.orthogonalize`. `steps_natively` must hold for all of them.
    """
    compiled = compile_source("muon.cpp")
    assert compiled is not None
    compiled.muon_step(
        len(matrices),
        *matrices[0].shape,
        *map(pointers, (matrices, gradients, averages)),
        *map(ctypes.c_float, (momentum, lr, decay)),
    )
