"""The optimizer of all training: Muon for the matrices of the blocks, AdamW for the rest."""

import math
from collections import defaultdict

import torch

ITERATIONS = 5  # of Newton-Schulz


def orthogonalize(matrices: torch.Tensor) -> torch.Tensor:
    """Muon's Newton-Schulz iteration: of each matrix U S V^T about U V^T. matrices: [n, rows,
    columns], so returned.

    https://kellerjordan.github.io/posts/muon
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


class BatchedMuon(torch.optim.Muon):
    """torch's Muon, the matrices of one shape in one batch: for small ones the calls cost more than
    the products.
    """

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            by_shape = defaultdict(list)
            for p in group["params"]:
                by_shape[p.shape].append(p)
            for (rows, columns), matrices in by_shape.items():
                grads = [p.grad for p in matrices]
                averages = [
                    self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
                    for p in matrices
                ]
                torch._foreach_lerp_(averages, grads, 1 - group["momentum"])
                updates = orthogonalize(
                    torch.stack(torch._foreach_lerp(grads, averages, group["momentum"]))
                )
                lr = group["lr"] * math.sqrt(max(1, rows / columns))
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(matrices, updates.unbind(), alpha=-lr)


class MuonAdamW(torch.optim.Optimizer):
    """Muon for the given matrices and AdamW for everything else, behind one optimizer."""

    def __init__(
        self, model, matrices: list, muon_lr: float, adamw_lr: float, weight_decay: float = 0.0
    ):
        chosen = {id(p) for p in matrices}
        others = [p for p in model.parameters() if id(p) not in chosen]
        self.parts = [
            BatchedMuon(matrices, lr=muon_lr, momentum=0.95, weight_decay=weight_decay),
            torch.optim.AdamW(others, lr=adamw_lr, weight_decay=weight_decay),
        ]
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        self._share_groups()

    def _share_groups(self):
        # The learning-rate scheduler writes into these groups: both optimizers must read the same
        # dicts.
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure=None):
        for part in self.parts:
            part.step()

    def state_dict(self):
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state):
        for part, part_state in zip(self.parts, state["parts"]):
            part.load_state_dict(part_state)
        self._share_groups()
