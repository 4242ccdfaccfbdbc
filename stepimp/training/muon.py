"""The optimizer of all training: Muon for the matrices of the blocks, AdamW for the rest."""

import math
from collections import defaultdict

import torch
from torch.distributed.tensor import DTensor

from stepimp.kernels.muon import muon_step, steps_natively
from stepimp.training.sharding import gathered, sharded_like

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
    the products. A sharded matrix is a batch of its own, gathered to be orthogonalized: the
    iteration needs it whole. On few CPU threads the step is one C++ function, if `native`.
    """

    native = True

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            batches = defaultdict(list)
            for number, p in enumerate(group["params"]):
                batches[p.shape, number if isinstance(p, DTensor) else None].append(p)
            for ((rows, columns), _), matrices in batches.items():
                grads = [p.grad for p in matrices]
                averages = [
                    self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
                    for p in matrices
                ]
                lr = group["lr"] * math.sqrt(max(1, rows / columns))
                decay = group["lr"] * group["weight_decay"]
                if self.native and steps_natively([*matrices, *grads, *averages]):
                    muon_step(matrices, grads, averages, group["momentum"], lr, decay)
                    continue
                torch._foreach_lerp_(averages, grads, 1 - group["momentum"])
                momenta = torch.stack(torch._foreach_lerp(grads, averages, group["momentum"]))
                updates = sharded_like(orthogonalize(gathered(momenta)), momenta)
                torch._foreach_mul_(matrices, 1 - decay)
                torch._foreach_add_(matrices, updates.unbind(), alpha=-lr)


class MuonAdamW(torch.optim.Optimizer):
    """Muon for the given matrices and AdamW for everything else, behind one optimizer."""

    def __init__(self, model, matrices: list, muon_lr: float, adamw_lr: float):
        chosen = {id(p) for p in matrices}
        others = [p for p in model.parameters() if id(p) not in chosen]
        on_cpu = all(p.device.type == "cpu" for p in others)
        self.parts = [
            BatchedMuon(matrices, lr=muon_lr, momentum=0.95, weight_decay=0.0),
            torch.optim.AdamW(others, lr=adamw_lr, weight_decay=0.0, fused=on_cpu or None),
        ]
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        self._share()

    def _share(self):
        # The learning-rate scheduler writes into the groups, accelerate shards the parameters in
        # them, and checkpoints hold this state: both optimizers must use the same dicts.
        for part, group in zip(self.parts, self.param_groups):
            part.param_groups, part.state = [group], self.state

    @torch.no_grad()
    def step(self, closure=None):
        for part in self.parts:
            part.step()

    def load_state_dict(self, state):
        super().load_state_dict(joined(state["parts"]) if "parts" in state else state)
        self._share()


def joined(parts: list[dict]) -> dict:
    """One optimizer's state from those of several, as stepimp 0.1 wrote them: parameters are
    numbered through.
    """
    state: dict[int, dict] = {}
    groups: list[dict] = []
    first = 0
    for part in parts:
        state |= {first + number: values for number, values in part["state"].items()}
        for group in part["param_groups"]:
            groups.append(group | {"params": [first + number for number in group["params"]]})
        first = sum(len(group["params"]) for group in groups)
    return {"state": state, "param_groups": groups}
