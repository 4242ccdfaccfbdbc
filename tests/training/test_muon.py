import copy

import pytest
import torch
from small_training import equal

from stepimp.training.muon import BatchedMuon, MuonAdamW
from stepimp.training.objective import block_matrices, nelbo_loss


def steps(model, optimizer, n, scheduler=None):
    generator = torch.Generator().manual_seed(n)
    for _ in range(n):
        x = torch.randint(23, (4, 12), generator=generator)
        loss = nelbo_loss(model, x, torch.full((4,), 0.5), torch.rand(x.shape, generator=generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if scheduler:
            scheduler.step()


def test_muon_gets_the_blocks_matrices_and_adamw_the_rest_each_once(random_model):
    model = random_model()
    parts = MuonAdamW(model, block_matrices(model), 0.02, 0.01).parts
    muon, adamw = (
        {id(p) for group in part.param_groups for p in group["params"]} for part in parts
    )
    blocks = model.backbone.blocks
    assert muon == {
        id(layer.weight) for b in blocks for layer in (b.attn_qkv, b.attn_out, b.mlp[0], b.mlp[2])
    }
    assert muon.isdisjoint(adamw) and muon | adamw == {id(p) for p in model.parameters()}


def test_muon_in_batches_is_torchs_muon():
    generator = torch.Generator().manual_seed(0)
    shapes = [(48, 16), (16, 16), (64, 16), (16, 64)] * 2
    ours, theirs = ([torch.nn.Parameter(torch.ones(shape)) for shape in shapes] for _ in range(2))
    options = dict(lr=0.02, momentum=0.95, weight_decay=0.1)
    optimizers = BatchedMuon(ours, **options), torch.optim.Muon(theirs, **options)
    for _ in range(4):
        for p, q in zip(ours, theirs):
            p.grad = q.grad = torch.randn(p.shape, generator=generator)
        for optimizer in optimizers:
            optimizer.step()
    assert all(torch.allclose(p, q, atol=1e-3) for p, q in zip(ours, theirs))


def test_the_optimizers_state_round_trips(random_model):
    whole, stopped = random_model(1), random_model(1)
    first = MuonAdamW(whole, block_matrices(whole), 0.02, 0.01)
    steps(whole, first, 3)
    second = MuonAdamW(stopped, block_matrices(stopped), 0.5, 0.5)
    stopped.load_state_dict(whole.state_dict())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    steps(whole, first, 2), steps(stopped, second, 2)
    assert equal(whole.state_dict(), stopped.state_dict())


def test_the_state_of_version_0_1_is_read(random_model):
    model, other = random_model(1), random_model(1)
    first, second = (MuonAdamW(m, block_matrices(m), 0.02, 0.01) for m in (model, other))
    steps(model, first, 2)
    other.load_state_dict(model.state_dict())
    state = copy.deepcopy(first.state_dict())
    parts, start = [], 0
    for group in state["param_groups"]:
        numbers = range(len(group["params"]))
        values = {number: state["state"][start + number] for number in numbers}
        parts.append({"state": values, "param_groups": [group | {"params": list(numbers)}]})
        start += len(numbers)
    second.load_state_dict({"parts": parts})
    steps(model, first, 2), steps(other, second, 2)
    assert equal(model.state_dict(), other.state_dict())


@pytest.mark.parametrize("reload", [False, True])
def test_learning_rates_reach_both_optimizers(random_model, reload):
    model = random_model()
    optimizer = MuonAdamW(model, block_matrices(model), 0.02, 0.01)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    if reload:
        optimizer.load_state_dict(optimizer.state_dict())
    steps(model, optimizer, 2, scheduler)
    assert [part.param_groups[0]["lr"] for part in optimizer.parts] == [0.02 / 4, 0.01 / 4]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = {name: p.clone() for name, p in model.state_dict().items()}
    steps(model, optimizer, 1)
    assert equal(model.state_dict(), before)
