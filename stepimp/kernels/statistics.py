"""Cross-entropy, KL and entropy of several models in one pass over the vocabulary."""

import functools

import torch

from stepimp.kernels import reference
from stepimp.kernels.blocks import EXCLUDED, join
from stepimp.kernels.choice import check_projection, choose
from stepimp.kernels.linear import linear

VOCABULARY_BLOCK = 1024
ROW_BLOCK = 512


@torch.no_grad()
def vocabulary_statistics(
    rows,
    heads,
    targets,
    mask_id,
    vocabulary_block=VOCABULARY_BLOCK,
    row_block=ROW_BLOCK,
    impl="auto",
):
    """Statistics of K models at the same n positions; the first model is the heavy one.

    rows: K tensors [n, D_k], what each model's projection takes; heads: K pairs of weight [V, D_k]
    and bias [V]; targets: [n] clean tokens, or [n, m] to ask about m tokens at each position.
    Returns float64 tensors, in nats, with the mask token excluded from every p:
      ce [K, n] or [K, n, m]   -log p_k(target),
      kl [K, n]                KL(p_heavy || p_k), zero for k = 0,
      entropy [n]              of p_heavy.
    A bias of minus infinity excludes its token as well; where p_heavy has it and p_k does not, ce
    and kl may be huge instead of infinite. Else it equals `reference.vocabulary_statistics`, but
    never holds more than a block of [rows, V] per model. Logits leave the projection in fp32 or
    wider. impl: reference; torch, in blocks of the two sizes, with everything after the projection
    in float64, because a KL is a small difference of large sums; triton, one kernel that sums a
    span of the vocabulary in fp32; auto: triton on a CUDA device, else torch. Raises StepimpError
    if triton cannot run, ValueError for tensors that do not fit each other; only on a CUDA device
    targets outside the vocabulary go unnoticed.
    """
    if len(rows) != len(heads) or not len(rows):
        raise ValueError(f"{len(rows)} models' rows and {len(heads)} heads: give one head for each")
    for x, head in zip(rows, heads):
        check_projection(x, head, mask_id)
    if len(sizes := {len(weight) for weight, _ in heads}) > 1:
        raise ValueError(f"heads of vocabularies of {' and '.join(map(str, sorted(sizes)))} tokens")
    check_targets(targets, rows, len(heads[0][0]))
    impl, columns = choose(impl, rows[0]), targets if targets.ndim == 2 else targets[:, None]
    if impl == "reference":
        ce, kl, entropy = reference.vocabulary_statistics(rows, heads, columns, mask_id)
    elif impl == "triton":
        from stepimp.kernels import triton_statistics

        ce, kl, entropy = triton_statistics.vocabulary_statistics(rows, heads, columns, mask_id)
    else:
        ce, kl, entropy = _in_blocks(rows, heads, columns, mask_id, vocabulary_block, row_block)
    return ce.reshape(len(rows), *targets.shape), kl, entropy


def check_targets(targets, rows, vocab_size: int):
    """Raises ValueError unless the targets are token ids for the rows [n, D_k] of every model."""
    if not isinstance(targets, torch.Tensor) or targets.dtype not in (torch.int64, torch.int32):
        kind = targets.dtype if isinstance(targets, torch.Tensor) else type(targets).__name__
        raise ValueError(f"targets are a tensor of int64 token ids, not {kind}")
    if targets.ndim not in (1, 2) or any(len(x) != len(targets) for x in rows):
        shapes = ", ".join(str(tuple(x.shape)) for x in rows)
        raise ValueError(f"targets {tuple(targets.shape)} do not fit rows {shapes}")
    if targets.device != rows[0].device:
        raise ValueError(f"rows are on {rows[0].device}, the targets on {targets.device}")
    # On a CUDA device this would wait for all work before it.
    if targets.device.type == "cpu" and ((targets < 0) | (targets >= vocab_size)).any():
        raise ValueError(f"targets outside the vocabulary 0..{vocab_size - 1}")


def _in_blocks(rows, heads, targets, mask_id, vocabulary_block, row_block):
    """`vocabulary_statistics` by torch: ce [K, n, m], kl [K, n], entropy [n]."""
    blocks = [
        slice(start, start + row_block) for start in range(0, max(1, len(targets)), row_block)
    ]
    parts = [
        _row_block([x[b] for x in rows], heads, targets[b], mask_id, vocabulary_block)
        for b in blocks
    ]
    ce, kl, entropy = (torch.cat(column, dim=-1) for column in zip(*parts))
    return ce.movedim(1, -1), kl, entropy


def _row_block(rows, heads, targets, mask_id, width):
    """`vocabulary_statistics` for one block of rows: ce [K, m, n], kl [K, n], entropy [n]."""
    wide = torch.promote_types(rows[0].dtype, torch.float32)
    rows = [x.to(wide) for x in rows]
    chosen = [
        torch.zeros(targets.T.shape, dtype=torch.float64, device=targets.device) for _ in rows
    ]
    vocab_size = len(heads[0][0])
    starts = range(0, vocab_size, width)
    # Memory that outlives a block is allocated first: fresh memory of a block's size would be
    # mapped and zeroed by the system each time, and small tensors kept from each block would
    # fragment the heap.
    make = functools.partial(torch.empty, dtype=torch.float64, device=targets.device)
    scratch = make(4, len(targets), min(width, vocab_size))
    lse, kl = make(2, len(rows), len(starts), len(targets))
    entropy = make(len(starts), len(targets))
    for b, start in enumerate(starts):
        stop = min(start + width, vocab_size)
        logits = (_project(x, head, slice(start, stop), mask_id) for x, head in zip(rows, heads))
        lse[:, b], kl[:, b], entropy[b] = _vocabulary_block(
            logits, targets - start, chosen, scratch[..., : stop - start]
        )
    lse, kl, entropy = join(lse, kl, entropy)
    return lse[:, None] - torch.stack(chosen), kl, entropy


def _project(x, head, block, mask_id):
    """Logits [n, C] of a block of the vocabulary, in fp32 or wider."""
    weight, bias = (part[block].to(x.dtype) for part in head)
    logits = linear(x, weight, bias.clamp(min=EXCLUDED))
    if block.start <= mask_id < block.stop:
        logits[:, mask_id - block.start] = EXCLUDED
    return logits


def _vocabulary_block(logits, columns, chosen, scratch):
    """One block of C tokens: log-sum-exp [K, n], KL inside the block [K, n], and the heavy model's
    entropy inside the block [n].

    logits: iterator over models of [n, C]; columns: [n, m], the targets counted from the start of
    the block, whose logits are added to `chosen`, K tensors [m, n], if they are inside the block;
    scratch: [4, n, C].
    """
    heavy, p, other, q = scratch
    width = heavy.shape[1]
    inside, columns = (columns >= 0) & (columns < width), columns.clamp(0, width - 1)
    lse, kl = [], []
    for k, (block, target_logits) in enumerate(zip(logits, chosen)):
        wide, share = (heavy, p) if k == 0 else (other, q)
        torch.softmax(wide.copy_(block), -1, out=share)
        lse.append(wide.amax(-1) - share.amax(-1).log())  # exact, and cheaper than logsumexp
        target_logits += torch.where(inside, wide.gather(1, columns), 0.0).T
        if k == 0:
            entropy = lse[0] - torch.mul(p, heavy, out=q).sum(-1)
            kl.append(torch.zeros_like(entropy))
        else:
            kl.append(torch.sub(heavy, wide, out=q).mul_(p).sum(-1) - lse[0] + lse[k])
    return torch.stack(lse), torch.stack(kl), entropy
