"""The modulation of Transformer blocks as part of their matrices, on a CPU (fold.h), and back for
the gradients. For `kernels.trunk`, whose library holds the functions.
"""

import math

import torch

from stepimp.kernels.native import pointer, pointers


def factors(modulation, heads: int) -> tuple:
    """For qkv, out, up and down: what multiplies the rows, what multiplies the columns, and the
    shift of the matrix's inputs. Scores come in units of log 2.
    """
    shift1, gain1, gate1, shift2, gain2, gate2 = modulation
    blocks, dim = gain1.shape
    scores = torch.ones(blocks, 3 * dim)
    scores[:, :dim] = math.log2(math.e) * (dim // heads) ** -0.5
    return (
        (scores, gain1, shift1),
        (gate1, torch.ones(blocks, dim), torch.zeros(blocks, dim)),
        (torch.ones(blocks, 4 * dim), gain2, shift2),
        (gate2, torch.ones(blocks, 4 * dim), torch.zeros(blocks, 4 * dim)),
    )


def fold(compiled, matrices, up_bias, down_bias, modulation, heads: int, out) -> list:
    """qkv, out, up and down with the modulation, [N, rows, columns] in bf16, then the biases of
    qkv, up and down in fp32: see `kernels.trunk.trunk`. out: the memory of the matrices.
    """
    kinds = factors(modulation, heads)
    gate2 = kinds[3][0]
    sizes = [len(kind) * kind[0].numel() for kind in matrices]
    folded = [
        part.view(len(kind), *kind[0].shape) for part, kind in zip(out.split(sizes), matrices)
    ]
    qkv_bias, no_bias = torch.zeros_like(kinds[0][0]), torch.zeros_like(gate2)
    biases = [qkv_bias, no_bias, up_bias.clone(), gate2 * down_bias]
    for kind, by, weight, bias in zip(matrices, kinds, folded, biases):
        compiled.fold(*weight.shape, pointers(kind), pointers(by), pointer(weight), pointer(bias))
    return [*folded, qkv_bias, *biases[2:]]


def unfold(compiled, matrices, down_bias, modulation, heads: int, gradients, dbiases) -> tuple:
    """Gradients of the biases of up and down and of the modulation, from those of what `fold`
    returns: gradients of the matrices, which become those of `matrices`, and dbiases.
    """
    kinds = factors(modulation, heads)
    gate2 = kinds[3][0]
    dqkv_bias, dup_bias, ddown_bias = dbiases
    dkinds = [[torch.zeros(part.shape) for part in by] for by in kinds]
    all_dbiases = dqkv_bias, torch.zeros_like(gate2), dup_bias, ddown_bias
    for kind, by, dbias, gradient, dby in zip(matrices, kinds, all_dbiases, gradients, dkinds):
        arrays = (dbias, gradient, *dby)
        compiled.unfold(*gradient.shape, pointers(kind), pointers(by), *map(pointer, arrays))
    (_, dgain1, dshift1), (dgate1, _, _), (_, dgain2, dshift2), (dgate2, _, _) = dkinds
    dgate2 += ddown_bias * down_bias
    return dup_bias, gate2 * ddown_bias, dshift1, dgain1, dgate1, dshift2, dgain2, dgate2
