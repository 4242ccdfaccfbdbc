"""What this machine and this installation can do, and whether kernels and models compute here what
their float64 references compute.
"""

import os
import platform
import shutil
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import torch

from stepimp import __version__
from stepimp.errors import StepimpError
from stepimp.kernels import choice
from stepimp.kernels.draw import project_and_draw
from stepimp.kernels.statistics import vocabulary_statistics
from stepimp.models.family import default_members, family_folder
from stepimp.models.loading import load
from stepimp.models.placement import GIGABYTE, free_bytes, pick_attention, pick_device
from stepimp.results import git_commit
from stepimp.text.cache import cache_folder

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "accelerate",
    "datasets",
    "huggingface_hub",
    "numpy",
    "scipy",
    "triton",
    "flash-attn",
)
PROCESSORS = Path("/proc/cpuinfo")
ROWS, WIDTH, VOCABULARY, SAMPLES = 130, 48, 1031, 64  # ragged: no block size divides them


class Check(NamedTuple):
    """One comparison with a float64 reference. difference: the largest that was found."""

    name: str
    difference: float
    allowed: float
    unit: str

    @property
    def passed(self) -> bool:
        """Whether the difference is allowed."""
        return self.difference <= self.allowed


def versions() -> dict[str, str | None]:
    """Package -> installed version, None where it is missing."""
    installed: dict[str, str | None] = {"stepimp": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            installed[package] = None
    return installed


def processor() -> str:
    """The name of the CPU as the system gives it."""
    if PROCESSORS.exists():
        for line in PROCESSORS.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine(device: torch.device) -> dict:
    """The machine, and the device and threads that models would use."""
    cuda = device.type == "cuda"
    free = free_bytes(device)
    return {
        "system": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "device": torch.cuda.get_device_name(device) if cuda else "cpu",
        "cuda_devices": torch.cuda.device_count(),
        "free_memory_gb": None if free is None else round(free / GIGABYTE, 1),
    }


def usable(device: torch.device) -> dict[str, bool]:
    """Which optional parts can be used here."""
    return {
        "flash_attention": pick_attention("auto", device, torch.bfloat16) == "flash_attention_2",
        "triton": choice.installed() and (device.type == "cuda" or choice.interpreted()),
        "cpp_compiler": bool(shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")),
    }


def cache() -> dict:
    """Where the cache is, and its size."""
    try:
        folder = cache_folder()
    except StepimpError as error:
        return {"folder": None, "megabytes": 0.0, "problem": str(error)}
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    return {"folder": str(folder), "megabytes": round(sum(sizes) / 1e6, 1), "problem": None}


def kernel_checks(device: torch.device) -> list[Check]:
    """The kernels that `auto` chooses on this device, on random rows of three models."""
    draw = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw).to(device)

    rows = [random(ROWS, WIDTH) for _ in range(3)]
    heads = [(random(VOCABULARY, WIDTH) / WIDTH**0.5, random(VOCABULARY)) for _ in range(3)]
    targets = torch.randint(VOCABULARY - 1, (ROWS,), generator=draw).to(device)
    arguments = (rows, heads, targets, VOCABULARY - 1)
    both = ("auto", "reference")
    computed, exact = (vocabulary_statistics(*arguments, impl=impl) for impl in both)
    differences = [float((a - b).abs().max()) for a, b in zip(computed, exact)]
    names = ("cross-entropy", "KL", "entropy")
    checks = [Check(name, worst, 1e-4, "nats") for name, worst in zip(names, differences)]
    where = (rows[0], heads[0], VOCABULARY - 1, 0, range(ROWS), range(ROWS))
    drawn, expected = (project_and_draw(*where, impl=impl) for impl in both)
    # two candidates may tie to rounding, which hardly ever happens
    other = int((drawn != expected).sum())
    return [*checks, Check(f"tokens drawn ({ROWS} rows)", other, 1, "token")]


@torch.no_grad()
def model_check(device: torch.device) -> Check:
    """The bundled family's shallowest member in fp32 on this device, against float64 on the CPU."""
    _, light = default_members(family_folder())
    logits = []
    for place, dtype in ((str(device), "float32"), ("cpu", "float64")):
        model = load([light], family_folder(), place, dtype).any
        z = torch.full((1, SAMPLES), model.mask_id, device=model.device)
        z[0, ::2] = torch.arange(SAMPLES // 2, device=model.device) + 5
        t = torch.full((1,), 0.5, device=model.device)
        logits.append(model.logits(model.hidden(z, t)[0]).double().cpu().log_softmax(-1))
    computed, exact = logits
    finite = exact.isfinite()  # the mask token has probability 0
    worst = (computed - exact)[finite].abs().max()
    return Check(f"log-probabilities of {light}", float(worst), 1e-3, "nats")


def diagnose(device: str) -> dict:
    """All of it, the self-test of a few seconds included. Raises StepimpError for a device that
    torch does not see.
    """
    place, started = pick_device(device), time.perf_counter()
    checks = [*kernel_checks(place), model_check(place)]
    return {
        "versions": versions(),
        "git_commit": git_commit(),
        "machine": machine(place),
        "usable": usable(place),
        "cache": cache(),
        "checks": [check._asdict() | {"passed": check.passed} for check in checks],
        "self_test_seconds": round(time.perf_counter() - started, 1),
    }
