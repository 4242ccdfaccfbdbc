"""Several processes under torchrun: which of them this is, its part of the work, and what the
others found.
"""

import atexit
import os
from datetime import timedelta

# Rank 0 may measure curves while the others wait, and a slow machine finishes its part hours after
# a fast one.
PATIENCE = timedelta(days=7)


class Processes:
    """rank: of this process; count: how many torchrun started, 1 without it."""

    def __init__(self):
        self.rank, self.count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        if self.count > 1:
            # Imported after the group is made, its functions would hold the group as a default
            # argument.
            import torch.distributed.nn  # noqa: F401
            from torch import distributed

            distributed.init_process_group("gloo", timeout=PATIENCE)
            atexit.register(
                distributed.destroy_process_group
            )  # its threads, left alone, can abort a process as it ends

    def part(self, items: list) -> list:
        """This process's contiguous part of a list that is the same in all of them."""
        return items[
            len(items) * self.rank // self.count : len(items) * (self.rank + 1) // self.count
        ]

    def gather(self, found: dict) -> dict:
        """What all processes found, in each of them; waits for the last."""
        if self.count == 1:
            return dict(found)
        from torch import distributed

        parts: list[dict] = [{}] * self.count
        distributed.all_gather_object(parts, found)
        return {key: value for part in parts for key, value in part.items()}

    def device(self, device: str) -> str:
        """The GPU of this process where each can have one of its own, else the device asked for."""
        if self.count > 1 and device in ("auto", "cuda"):
            import torch

            if torch.cuda.device_count() > 1:
                return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"
        return device
