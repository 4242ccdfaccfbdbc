"""Cross-entropy, KL and entropy of several models in one pass over the vocabulary."""

import torch

VOCABULARY_BLOCK = 2048
ROW_BLOCK = 256


def vocabulary_statistics(rows, heads, targets, mask_id, vocabulary_block=VOCABULARY_BLOCK, row_block=ROW_BLOCK):
    """Statistics of K models at the same n positions; the first model is the heavy one.

    rows: K tensors [n, D_k], what each model's projection takes; heads: K pairs of weight [V, D_k] and bias [V];
    targets: [n] clean tokens. Returns float64 tensors
      ce [K, n]       -log p_k(target),
      kl [K, n]       KL(p_heavy || p_k), zero for k = 0,
      entropy [n]     of p_heavy, all in nats, with the mask token excluded from every p.
    Equals `reference.vocabulary_statistics`, but never holds more than a block of [rows, V] per model.
    """
    parts = [
        _row_block([x[start : start + row_block] for x in rows], heads, targets[start : start + row_block], mask_id, vocabulary_block)
        for start in range(0, len(targets), row_block)
    ]
    if not parts:
        empty = targets.new_empty((len(rows), 0), dtype=torch.float64)
        return empty, empty, empty[0]
    return tuple(torch.cat(column, dim=-1) for column in zip(*parts))


def _row_block(rows, heads, targets, mask_id, vocabulary_block):
    """Per vocabulary block b: each model's lse_b, and of p_b, the heavy model's softmax inside the block, the means
    of h - l_k and of h. The blocks join by their weights exp(lse_b - lse), in float64."""
    wide = torch.promote_types(rows[0].dtype, torch.float32)
    rows = [x.to(wide) for x in rows]
    vocab_size = heads[0][0].shape[0]
    chosen = torch.zeros(len(rows), len(targets), dtype=wide, device=targets.device)
    lse, difference, level = [], [], []
    for start in range(0, vocab_size, vocabulary_block):
        stop = min(start + vocabulary_block, vocab_size)
        if stop - start == 1 and start == mask_id:
            continue
        logits = [torch.addmm(b[start:stop].to(wide), x, w[start:stop].to(wide).T) for x, (w, b) in zip(rows, heads)]
        if start <= mask_id < stop:
            for one in logits:
                one[:, mask_id - start] = torch.finfo(wide).min / 4  # finite, so that h - l is 0 there and not NaN
        inside = (targets >= start) & (targets < stop)
        columns = (targets[inside] - start)[:, None]
        for k, one in enumerate(logits):
            chosen[k, inside] = one[inside].gather(1, columns)[:, 0]
        heavy = logits[0]
        lse_b = [one.logsumexp(-1) for one in logits]
        p = (heavy - lse_b[0][:, None]).exp_()
        difference.append(torch.stack([((heavy - one).mul_(p)).sum(-1) for one in logits]).double())
        level.append(torch.where(p > 0, heavy * p, 0.0).sum(-1).double())
        lse.append(torch.stack(lse_b).double())
    lse, difference, level = torch.stack(lse), torch.stack(difference), torch.stack(level)  # [blocks, K, n]
    total = lse.logsumexp(0)
    weight = (lse[:, 0] - total[0]).exp()
    kl = (weight[:, None] * difference).sum(0) - total[0] + total
    entropy = total[0] - (weight * level).sum(0)
    return total - chosen.double(), kl, entropy
