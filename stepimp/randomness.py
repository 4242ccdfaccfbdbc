"""Random numbers by counter: each a function of (seed, stream, index, position) alone.

No draw depends on batch size, order, number of processes or a resume, and runs with the same seed
share their draws. The generator is NumPy's Philox 4x64 (Salmon et al. 2011), which every kernel can
reproduce.
"""

import numpy as np

CORRUPTION, UNMASK_STEP, TOKEN, DATA, BOOTSTRAP, ACCEPT, RESIDUAL, REMASK, EVENT = range(9)


def generator(seed: int, stream: int, index: int = 0, position: int = 0) -> np.random.Generator:
    """An independent generator for each argument tuple, of integers from 0 to 2^64 - 1. Raises
    ValueError for others.
    """
    try:
        key = np.array([seed, stream], np.uint64)
        counter = np.array([0, 0, position, index], np.uint64)
    except (OverflowError, TypeError) as error:
        raise ValueError(
            f"seed {seed!r}, index {index!r} and position {position!r} must be whole numbers from "
            "0 to 2^64 - 1"
        ) from error
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def uniforms(seed: int, stream: int, indices, length: int) -> np.ndarray:
    """[len(indices), length] uniforms on [0, 1) in float64; row r depends on (seed, stream,
    indices[r]) alone.
    """
    rows = [generator(seed, stream, int(index)).random(length) for index in indices]
    return np.stack(rows) if rows else np.empty((0, length))
