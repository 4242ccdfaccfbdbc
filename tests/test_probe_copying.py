import torch
from probe_copying import same_neighbour

MASK = 9


def test_a_visible_neighbour_is_looked_for_on_its_side_alone():
    z = torch.tensor([[1, 2, 8, 5, 6, 1, MASK, 6, 0]])
    left, right = (same_neighbour(z, MASK, side)[0].nonzero().tolist() for side in (-1, 1))
    assert left == [[6, 1]]  # after a 1 stands the 2
    assert right == [[6, 3]]  # before a 6 stands the 5


def test_masked_or_missing_neighbours_are_like_none():
    z = torch.tensor([[MASK, 5, MASK, MASK, MASK, 5]])
    assert not same_neighbour(z, MASK, -1).any()
    assert same_neighbour(z, MASK, 1)[0].nonzero().tolist() == []
