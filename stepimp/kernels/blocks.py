"""What the blockwise kernels share: the excluded logit, and joining blocks of the vocabulary."""

import torch

EXCLUDED = (
    -1e30
)  # the mask token's logit: no probability, and finite, so that differences of logits are never NaN


def join(lse, kl, entropy):
    """From blocks to the whole vocabulary: lse, kl [K, blocks, n] and entropy [blocks, n] without
    their blocks.

    By the chain rule, w_b being the probability of block b: the KL is the mean over the heavy w_b
    of the KL inside the block + log(w_b / w_b,k), and the entropy that of the one inside - log w_b.
    """
    # One model at a time, so that a further model changes no summation order and with it no bit of
    # the others.
    total = [one.logsumexp(0) for one in lse]
    log_w = [one - whole for one, whole in zip(lse, total)]
    w = log_w[0].exp()
    kl = [(w * (inside + log_w[0] - other)).sum(0) for inside, other in zip(kl, log_w)]
    return torch.stack(total), torch.stack(kl), (w * (entropy - log_w[0])).sum(0)
