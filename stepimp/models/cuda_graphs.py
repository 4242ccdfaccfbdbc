"""A body that is called in few shapes, so that each can be compiled and captured as a CUDA graph
once.
"""

import torch

BATCHES = (4, 16, 32, 64, 128, 256)
FEWEST_QUERIES = 8  # more than unmask together at nearly all steps of T = 1000
SHAPES = 64  # of all models of a run together; torch stops compiling after 8 unless it is told


def padded_shape(rows: int, queries: int) -> tuple[int, int]:
    """The next of `BATCHES`, beyond them the next multiple of the last; the next power of two."""
    largest = BATCHES[-1]
    rows = next((size for size in BATCHES if size >= rows), -(-rows // largest) * largest)
    return rows, max(FEWEST_QUERIES, 1 << (queries - 1).bit_length())


class InFewShapes:
    """`body(z, t, at)` of a `Denoiser`, filled up to few shapes; what the filling gives is
    dropped.
    """

    def __init__(self, body):
        self.body = body

    def __call__(self, z: torch.Tensor, t: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """z: [B, L]; t: [B]; at: [B, n] -> [B, n, D]. Valid until the next call: a CUDA graph
        reuses its memory.
        """
        rows, queries = at.shape
        # Repeats of the last row and of the last position, where there are fewer.
        row, query = (
            torch.arange(size, device=z.device).clamp_(max=last - 1)
            for size, last in zip(padded_shape(rows, queries), (rows, queries))
        )
        return self.body(z[row], t[row], at[row[:, None], query])[:rows, :queries]


def compiled(body, constants=()):
    """`body` compiled for each shape it meets, and replayed as a CUDA graph.

    constants: tensors it uses and neither takes nor holds as parameters; a replay would else copy
    each of them."""
    import torch._dynamo

    for one in constants:
        torch._dynamo.mark_static_address(one)
    torch._dynamo.config.recompile_limit = max(SHAPES, torch._dynamo.config.recompile_limit)
    return torch.compile(body, mode="reduce-overhead", dynamic=False)
