"""A body that is called in few shapes, so that each can be compiled and captured as a CUDA graph
once.
"""

import time
import warnings

import torch

BATCHES = (4, 16, 32, 64, 128, 256)
FEWEST_QUERIES = 8  # more than unmask together at nearly all steps of T = 1000
SHAPES = 64  # of all models of a run together; torch stops compiling after 8 by default


def padded_shape(rows: int, queries: int) -> tuple[int, int]:
    """The next of `BATCHES`, beyond them the next multiple of the last; the next power of two."""
    largest = BATCHES[-1]
    rows = next((size for size in BATCHES if size >= rows), -(-rows // largest) * largest)
    return rows, max(FEWEST_QUERIES, 1 << (queries - 1).bit_length())


class InFewShapes:
    """`body(z, t, at)` of a `Denoiser`, padded to few shapes; rows of the padding are dropped.

    eager: the same function uncompiled, which takes over, with a warning, when compilation fails.
    first_seconds: {(rows, queries): seconds of the first call of that shape}, mostly compilation.
    """

    def __init__(self, body, eager=None):
        self.body, self.eager = body, eager
        self.first_seconds: dict[tuple[int, int], float] = {}

    def __call__(self, z: torch.Tensor, t: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """z: [B, L]; t: [B]; at: [B, n] -> [B, n, D]. Valid until the next call: a CUDA graph
        reuses its memory.
        """
        rows, queries = at.shape
        # Repeats of the last row and of the last position, where there are fewer.
        shape = padded_shape(rows, queries)
        row, query = (
            torch.arange(size, device=z.device).clamp_(max=last - 1)
            for size, last in zip(shape, (rows, queries))
        )
        start = time.perf_counter()
        out = self._run(z[row], t[row], at[row[:, None], query])
        self.first_seconds.setdefault(shape, time.perf_counter() - start)
        return out[:rows, :queries]

    def _run(self, *batch):
        if self.eager is None:
            return self.body(*batch)
        try:
            return self.body(*batch)
        except torch._dynamo.exc.TorchDynamoException as error:
            said = " ".join(str(error).split())[:200]
            warnings.warn(f"Compiling a model failed, and it runs uncompiled: {said}", stacklevel=2)
            self.body, self.eager = self.eager, None
        return self.body(*batch)


def compiled(body, constants=()):
    """`body` compiled for each shape it meets, and replayed as a CUDA graph.

    constants: tensors it uses and neither takes nor holds as parameters; a replay would else copy
    each of them.
    """
    import torch._dynamo

    for tensor in constants:
        torch._dynamo.mark_static_address(tensor)
    torch._dynamo.config.recompile_limit = max(SHAPES, torch._dynamo.config.recompile_limit)
    return torch.compile(body, mode="reduce-overhead", dynamic=False)
