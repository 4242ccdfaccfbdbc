"""FLOPs of models in training, from their shapes.

A multiply-add counts as two. Elementwise work, AdamW and the averaging of weights are left out.
"""

from collections.abc import Iterable

import torch

from stepimp.estimates.training import TrainingCosts
from stepimp.models.denoiser import Denoiser
from stepimp.models.mdlm import MDLMForMaskedLM
from stepimp.training.muon import ITERATIONS
from stepimp.training.objective import MIN_T, block_matrices


def muon_flops(shapes: Iterable[torch.Size]) -> float:
    """FLOPs of `muon.orthogonalize` for matrices of these shapes: in each iteration the Gram
    matrix, its square, and the product with the matrix.
    """
    total = 0.0
    for shape in shapes:
        short, long = sorted(shape)
        total += ITERATIONS * 2 * (short * long * short + short**3 + short * short * long)
    return total


def member_costs(model: MDLMForMaskedLM, teacher: Denoiser | None = None) -> TrainingCosts:
    """FLOPs of training a denoiser, with the number of masked positions that is expected over the
    times of training.
    """
    length = model.max_length
    masked = model.noise.masked((MIN_T + 1) / 2) * length  # linear in t
    body = model.blocks * model.block_flops(length)
    return TrainingCosts(
        forward=body + masked * head_flops(model),
        optimizer=muon_flops(matrix.shape for matrix in block_matrices(model)),
        teacher=everywhere(teacher, length, masked) if teacher else 0.0,
    )


def everywhere(denoiser: Denoiser, length: int, rows: float) -> float:
    """FLOPs of a denoiser's body at all positions, and of its projection at some."""
    rest, row = denoiser.flops(length)
    head = head_flops(denoiser)
    return rest + length * (row - head) + rows * head


def head_flops(denoiser: Denoiser) -> float:
    """FLOPs of the vocabulary projection at one position."""
    return 2.0 * denoiser.head()[0].numel()


def causal_costs(model, matrices: Iterable[torch.Tensor], length: int) -> TrainingCosts:
    """FLOPs of training a causal language model of transformers on sequences of this length."""
    forward = causal_body_flops(model, length) + length * causal_head_flops(model)
    return TrainingCosts(forward, muon_flops(matrix.shape for matrix in matrices))


def causal_body_flops(model, length: int) -> float:
    """FLOPs of a causal language model's layers on one sequence: two for each weight of a matrix
    and token, and attention's scores and weighted values, at all pairs of positions.
    """
    head = model.get_output_embeddings()
    tables = [each for each in model.modules() if isinstance(each, torch.nn.Embedding)]
    others = {id(module.weight) for module in (*tables, head)}
    weights = sum(p.numel() for p in model.parameters() if p.ndim > 1 and id(p) not in others)
    config = model.config
    attention = 4 * length * config.hidden_size * config.num_hidden_layers
    return length * (2.0 * weights + attention)


def causal_head_flops(model) -> float:
    """FLOPs of the vocabulary projection for one token."""
    return 2.0 * model.get_output_embeddings().weight.numel()
