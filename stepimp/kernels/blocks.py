"""What the blockwise kernels share: the excluded logit, and joining blocks of the vocabulary."""

import torch

# The mask token's logit: no probability, and finite, so that differences of logits are never NaN.
EXCLUDED = -1e30


def join(lse, kl, entropy):
    """Joins statistics of blocks of the vocabulary: lse, kl [K, blocks, n] and entropy [blocks, n]
    to lse, kl [K, n] and entropy [n].

    By the chain rule, with w_b the probability of block b: the KL is the mean under the heavy
    model's w_b of (KL inside the block + log(w_b / w_b,k)), the entropy the mean of (entropy inside
    the block - log w_b).
    """
    # One model at a time, so that another model changes no summation order of the others.
    total = [of_blocks.logsumexp(0) for of_blocks in lse]
    log_w = [of_blocks - whole for of_blocks, whole in zip(lse, total)]
    w = log_w[0].exp()
    kl = [(w * (inside + log_w[0] - other)).sum(0) for inside, other in zip(kl, log_w)]
    return torch.stack(total), torch.stack(kl), (w * (entropy - log_w[0])).sum(0)
