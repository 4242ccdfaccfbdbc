"""From the names of models to denoisers that can run together."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from stepimp.errors import Contradiction, StepimpError
from stepimp.models.denoiser import Denoiser
from stepimp.models.family import MANIFEST, is_bundled, read_manifest, resolve
from stepimp.models.tokenizers import load_tokenizer, open_tokenizer
from stepimp.text.cache import digest
from stepimp.wording import counted

__all__ = ["Family", "load", "load_tokenizer", "open_tokenizer"]

COST_UNITS = 1000


@dataclass(frozen=True, repr=False)
class Family:
    """Denoisers that go together: model name -> denoiser, and the tokenizer they share."""

    denoisers: dict[str, Denoiser]
    tokenizer: PreTrainedTokenizerBase
    attention: str | None = None
    """The implementation of attention, None where it is what `auto` chooses."""
    facts: str | None = None
    """A fingerprint of what the models share and weights do not say, such as the noise schedule and
    the mask token; None for bundled models."""

    @property
    def params(self) -> dict[str, str]:
        """What a run's params say of how the models compute, besides their weights. Empty for
        bundled models with the attention that `auto` chooses: such runs keep the names they had
        before this.
        """
        said = {"attn": self.attention, "facts": self.facts}
        return {name: value for name, value in said.items() if value}

    def __repr__(self) -> str:
        names = ", ".join(
            f"{name} ({counted(model.blocks, 'block')})" for name, model in self.denoisers.items()
        )
        return (
            f"Family({names}; up to {self.length} tokens of a vocabulary of "
            f"{self.any.vocab_size:,}, on {self.any.device})"
        )

    @property
    def depth_only(self) -> bool:
        """Whether one block costs the same in all members, so that formula (3) may count blocks."""
        costs = [model.block_flops(self.length) for model in self.denoisers.values()]
        return all(math.isclose(cost, costs[0], rel_tol=1e-9) for cost in costs)

    @property
    def length(self) -> int:
        """The longest sequence that all members read."""
        return min(model.max_length for model in self.denoisers.values())

    @property
    def around(self) -> int:
        """Special tokens around each text, counted in its length."""
        return sum(map(len, self.any.frame))

    @property
    def blocks(self) -> dict[str, int]:
        """What one step of each member costs: its blocks where depth alone differs.

        Where the width differs too, the FLOPs of all its blocks at the full length, in thousandths
        of the costliest member's.
        """
        depths = {name: model.blocks for name, model in self.denoisers.items()}
        if self.depth_only:
            return depths
        costs = {
            name: model.blocks * model.block_flops(self.length)
            for name, model in self.denoisers.items()
        }
        most = max(costs.values())
        return {name: max(1, round(COST_UNITS * cost / most)) for name, cost in costs.items()}

    def require_lighter(self, heavy: str, lights: Iterable[str]):
        """Raises Contradiction for a light model that costs more per step than the heavy one."""
        costs = self.blocks
        for light in lights:
            if costs[light] > costs[heavy]:
                raise Contradiction(
                    f"The light model {light} is deeper than the heavy model {heavy}: exchange "
                    "them."
                )

    def decode(self, sequences: list[list[int]]) -> list[str]:
        """The texts of whole sequences, without the special tokens around each."""
        start, end = map(len, self.any.frame)
        inside = [tokens[start : len(tokens) - end] for tokens in sequences]
        return self.tokenizer.batch_decode(inside)

    @property
    def fingerprints(self) -> dict[str, str]:
        """model -> fingerprint of its weights."""
        return {name: model.fingerprint for name, model in self.denoisers.items()}

    @property
    def any(self) -> Denoiser:
        """One of the denoisers, for what all of them agree on."""
        return next(iter(self.denoisers.values()))


def load(names, folder: Path, device="auto", dtype="float32", attn="auto") -> Family:
    """Loads models by name and checks that they can run together.

    Raises StepimpError for an unknown name, a broken checkpoint, models that do not fit into the
    memory together, a member whose weights are not those that its family was made of, or a
    different tokenizer, vocabulary, mask token, shift or noise schedule.
    """
    import torch

    from stepimp.models.checkpoints import load_checkpoint, open_checkpoint
    from stepimp.models.placement import pick_attention, pick_device, require_memory
    from stepimp.models.together import check_together, shared_facts

    paths = {name: resolve(name, Path(folder)) for name in dict.fromkeys(names)}
    place, torch_dtype = pick_device(device), getattr(torch, dtype)
    opened = {name: open_checkpoint(path) for name, path in paths.items()}
    needed = {name: checkpoint.bytes(torch_dtype, place) for name, checkpoint in opened.items()}
    require_memory(needed, place, torch_dtype)
    tokenizers = {name: checkpoint.tokenizer() for name, checkpoint in opened.items()}
    denoisers = {
        name: load_checkpoint(checkpoint, device, dtype, attn, tokenizers[name])
        for name, checkpoint in opened.items()
    }
    check_recorded(denoisers, Path(folder))
    facts = {name: shared_facts(model, tokenizers[name]) for name, model in denoisers.items()}
    first, *others = denoisers
    for other in others:
        check_together(first, facts[first], other, facts[other])
    usual, chosen = (pick_attention(name, place, torch_dtype) for name in ("auto", attn))
    attention = None if chosen == usual else chosen
    if all(map(is_bundled, paths.values())):
        return Family(denoisers, tokenizers[first], attention)
    shared = digest(json.dumps(facts[first], sort_keys=True))
    return Family(denoisers, tokenizers[first], attention, shared)


def check_recorded(denoisers: dict[str, Denoiser], folder: Path):
    """Raises StepimpError for a member whose weights were replaced since it joined the family.

    Manifests of older versions record no fingerprint.
    """
    members = read_manifest(folder)["members"]
    for name, model in denoisers.items():
        facts = members.get(name, {})
        recorded = facts.get("fingerprint")
        if recorded in (None, model.fingerprint):
            continue
        made_by = "stepimp family add" if "checkpoint" in facts else facts.get("command")
        again = f"remove {name} from {folder / MANIFEST} and run {made_by or 'stepimp train'} again"
        raise StepimpError(
            f"The weights of {name} ({resolve(name, folder)}) are not those that {folder} was made "
            f"of: {recorded} in its manifest, {model.fingerprint} now. Put them back, or {again}."
        )
