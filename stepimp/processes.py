"""Several processes under torchrun: this one's rank, its part of the work, and exchange of
results.
"""

import atexit
import os
from datetime import timedelta

# Rank 0 may measure curves while the others wait, and a slow machine may finish hours after a fast
# one.
PATIENCE = timedelta(days=7)


class Processes:
    """The processes that torchrun started; without torchrun, this one alone."""

    def __init__(self):
        self.rank = int(os.environ.get("RANK", 0))
        """Number of this process, from 0."""
        self.count = int(os.environ.get("WORLD_SIZE", 1))
        """Number of processes."""
        if self.count > 1:
            # If imported after the group is made, its functions would hold the group as a default
            # argument.
            import torch.distributed.nn  # noqa: F401
            from torch import distributed

            distributed.init_process_group("gloo", timeout=PATIENCE)
            # The group's threads, if left running, can abort a process as it ends.
            atexit.register(distributed.destroy_process_group)

    def part(self, items: list) -> list:
        """This process's contiguous part of a list that is equal in all processes."""
        start, stop = (len(items) * rank // self.count for rank in (self.rank, self.rank + 1))
        return items[start:stop]

    def gather(self, results: dict) -> dict:
        """The union of all processes' results, in each of them. Waits for the last process."""
        if self.count == 1:
            return dict(results)
        from torch import distributed

        parts: list[dict] = [{}] * self.count
        distributed.all_gather_object(parts, results)
        return {key: value for part in parts for key, value in part.items()}

    def device(self, device: str) -> str:
        """This process's own GPU if there are several, else the device asked for."""
        if self.count > 1 and device in ("auto", "cuda"):
            import torch

            if torch.cuda.device_count() > 1:
                return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"
        return device
