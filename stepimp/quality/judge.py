"""The judge: an autoregressive language model that generated text is scored under."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from stepimp.errors import StepimpError
from stepimp.kernels.linear import linear
from stepimp.models.checkpoints import fingerprint, pick_device
from stepimp.models.loading import open_tokenizer
from stepimp.text.blocks import tokenizer_fingerprint
from stepimp.text.cache import digest
from stepimp.text.hub import offline_unless_reachable

FOLDER = "judge"  # the judge's place in a family folder
GPT2 = "gpt2"
CAUSAL = ("ForCausalLM", "LMHeadModel")  # how architectures of causal language models end
ROW_BLOCK = 512  # rows projected at once: bounds memory


def wide(x: torch.Tensor) -> torch.Tensor:
    """The same in fp32, or wider where it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@dataclass(frozen=True)
class Judge:
    """model: a causal language model of transformers; name: its id, or the last two parts of its
    folder's path; fingerprint: of weights and tokenizer."""

    model: torch.nn.Module
    tokenizer: object
    name: str
    fingerprint: str

    @property
    def context(self) -> int | None:
        """The most tokens it reads at once, None where there is no limit."""
        return getattr(self.model.config, "max_position_embeddings", None)

    @property
    def vocab_size(self) -> int:
        return self.model.get_output_embeddings().weight.shape[0]

    @cached_property
    def plain_head(self) -> bool:
        """Whether its logits are the output embedding of the body's last hidden state and nothing
        more, by trial.
        """
        ids = torch.arange(4, device=self.model.device)[None]
        rows = self.model.base_model(ids, use_cache=False)[0][0]
        whole = wide(self.model(ids, use_cache=False).logits[0])
        return torch.allclose(
            self.project(rows), whole, rtol=1e-2, atol=1e-2
        )  # bf16 logits are no closer

    def project(self, rows: torch.Tensor) -> torch.Tensor:
        """[n, D] -> [n, V] in fp32 or wider."""
        head = self.model.get_output_embeddings()
        bias = getattr(head, "bias", None)
        return linear(wide(rows), wide(head.weight), None if bias is None else wide(bias))

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Its tokens of each text, with nothing added before or after."""
        return (
            self.tokenizer(list(texts), add_special_tokens=False, verbose=False).input_ids
            if len(texts)
            else []
        )

    @torch.no_grad()
    def nll(self, ids: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        """-log p of the tokens asked about, given all before them in their row, in nats.

        ids: [B, L], padded on the right with anything, which no earlier token sees; asked: [B, L],
        never at position 0. Returns [n] float64, row by row. Only the rows asked about are
        projected, a block at a time."""
        ids, wanted = ids.to(self.model.device), asked[:, 1:].to(self.model.device)
        targets = ids[:, 1:][wanted]
        if self.plain_head:
            rows, project = (
                self.model.base_model(ids[:, :-1], use_cache=False)[0][wanted],
                self.project,
            )
        else:
            rows, project = self.model(ids[:, :-1], use_cache=False).logits[wanted], wide
        parts = []
        for block, target in zip(rows.split(ROW_BLOCK), targets.split(ROW_BLOCK)):
            logits = project(block)
            parts.append(
                logits.logsumexp(-1).double() - logits.gather(1, target[:, None])[:, 0].double()
            )
        return torch.cat(parts).cpu()


def judge_of(folder: Path) -> str:
    """The judge of a family folder: its own where it has one, else GPT-2."""
    own = Path(folder) / FOLDER
    return str(own) if (own / "config.json").exists() else GPT2


def load_judge(source: str, device="auto", dtype="float32") -> Judge:
    """A causal language model from a folder or the Hugging Face hub: safetensors only, and no code
    of its own is run.

    Raises StepimpError where there is no such model, the hub does not answer, or it is no causal
    language model."""
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # what it would warn of is checked below
    folder = Path(source).expanduser()
    if folder.exists() and not (folder / "config.json").is_file():
        raise StepimpError(
            f"{source} is no judge: it has no config.json. Give a causal language model's folder or id."
        )
    if not folder.exists():
        offline_unless_reachable()
    device, path = pick_device(device), str(folder) if folder.exists() else source
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        kinds = config.architectures or []
        if not any(kind.endswith(CAUSAL) for kind in kinds):
            raise StepimpError(
                f"{source} is no causal language model but {', '.join(kinds) or config.model_type}: "
                "give a judge such as gpt2."
            )
        model, report = AutoModelForCausalLM.from_pretrained(
            path,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except StepimpError:
        raise
    except (
        Exception
    ) as error:  # a damaged file, no such model or an unreachable hub: no common exception type
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        hint = (
            "" if folder.exists() else " A folder works offline: stepimp judge FOLDER trains one."
        )
        raise StepimpError(f"Cannot load {source} as a judge: {reason}{hint}") from None
    if report["missing_keys"] or report["mismatched_keys"]:
        problems = [*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])]
        raise StepimpError(
            f"{source} does not fit its config.json: {', '.join(sorted(problems)[:4])}"
        )
    if not all(torch.isfinite(tensor).all() for tensor in model.parameters()):
        raise StepimpError(f"{source}: its weights hold NaN or Inf. Give another judge.")
    tokenizer = open_tokenizer(path)
    if not 1 < len(tokenizer) <= model.get_output_embeddings().weight.shape[0]:
        raise StepimpError(
            f"{source}: its tokenizer has {len(tokenizer)} tokens: put the right one there."
        )
    name = (
        "/".join(folder.absolute().parts[-2:]) if folder.exists() else source
    )  # the same on every machine
    prints = digest(fingerprint(model), tokenizer_fingerprint(tokenizer))
    return Judge(model.eval().to(device, getattr(torch, dtype)), tokenizer, name, prints)
