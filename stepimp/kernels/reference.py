"""Plain float64 twins of the kernels, written like the formulas. For tests, not for speed."""

import torch


def log_probabilities(x, head, mask_id):
    """log p over the vocabulary, [n, D] -> [n, V], minus infinity at the mask token."""
    weight, bias = head
    logits = x.double() @ weight.double().T + bias.double()
    logits[:, mask_id] = -torch.inf
    return torch.log_softmax(logits, -1)


def vocabulary_statistics(rows, heads, targets, mask_id):
    """Formulas (4) and (6) per row, from all of [n, V] at once.

    Arguments and results as of `kernels.statistics.vocabulary_statistics`.
    """
    log_p = [log_probabilities(x, head, mask_id) for x, head in zip(rows, heads)]
    p_heavy = log_p[0].exp()
    columns = targets if targets.ndim == 2 else targets[:, None]
    ce = torch.stack([-lp.gather(1, columns).reshape(targets.shape) for lp in log_p])
    kl = torch.stack(
        [torch.where(p_heavy > 0, p_heavy * (log_p[0] - lp), 0.0).sum(-1) for lp in log_p]
    )
    entropy = -torch.where(p_heavy > 0, p_heavy * log_p[0], 0.0).sum(-1)
    return ce, kl, entropy


def gumbel_argmax(logits, exponentials):
    """argmax over v of logits_v + G_v with Gumbel noise G_v = -log E_v, E_v standard exponentials.

    logits, exponentials: [n, V]. Returns [n].
    """
    return (logits.double() - exponentials.double().log()).argmax(-1)


def trunk(x, matrices, up_bias, down_bias, modulation, cos, sin, heads):
    """See `kernels.trunk.trunk`."""

    def rotated(part):
        a, b = part.chunk(2, -1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    batch, length, dim = x.shape
    for qkv, out, up, down, up_b, down_b, shift1, gain1, gate1, shift2, gain2, gate2 in zip(
        *matrices, up_bias, down_bias, *modulation
    ):
        y = torch.layer_norm(x, (dim,), eps=1e-5) * gain1 + shift1
        q, k, v = (y @ qkv.mT).view(batch, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
        scores = rotated(q) @ rotated(k).mT * (dim // heads) ** -0.5
        y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, dim)
        x = x + gate1 * (y @ out.mT)
        y = torch.layer_norm(x, (dim,), eps=1e-5) * gain2 + shift2
        y = torch.nn.functional.gelu(y @ up.mT + up_b, approximate="tanh")
        x = x + gate2 * (y @ down.mT + down_b)
    return x


def orthogonalize(matrices):
    """Newton-Schulz iteration of Muon, [n, rows, columns]: U V^T, about, of each matrix U S V^T.

    https://kellerjordan.github.io/posts/muon
    """
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x
