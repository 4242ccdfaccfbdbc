"""The judge: an autoregressive language model that generated text is scored under."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import PreTrainedTokenizerBase

from stepimp.checks import fault, parsed
from stepimp.errors import StepimpError, first_line
from stepimp.kernels.linear import linear
from stepimp.models.checkpoints import fingerprint, read_config
from stepimp.models.family import family_folder, read_manifest
from stepimp.models.headers import read_header, safetensors_files
from stepimp.models.layouts.layout import check_types, is_int
from stepimp.models.loading import open_tokenizer
from stepimp.models.placement import pick_device
from stepimp.models.tokenizers import quiet_transformers
from stepimp.text.blocks import tokenizer_fingerprint
from stepimp.text.bundled import BUNDLED
from stepimp.text.cache import digest
from stepimp.text.encoding import encode
from stepimp.text.hub import offline_unless_reachable

FOLDER = "judge"  # the judge's place in a family folder
GPT2 = "gpt2"
CAUSAL = ("ForCausalLM", "LMHeadModel")  # how architectures of causal language models end
ROW_BLOCK = 512  # rows projected at once: bounds memory
# What transformers and the libraries below it raise for a damaged or missing checkpoint, a config
# that describes no model, an unknown architecture, or an unreachable hub.
LOADING_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    RuntimeError,
    ImportError,
    SafetensorError,
    StrictDataclassError,
)
NO_WEIGHTS = re.compile(r"(inv_freq|masked_bias|attn\.bias)$")  # buffers that older versions stored
OFFLINE_HINT = " A folder works offline: stepimp judge FOLDER trains one."


def wide(x: torch.Tensor) -> torch.Tensor:
    """x in fp32, or in its own dtype if that is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@dataclass(frozen=True)
class Judge:
    """A causal language model of transformers with its tokenizer."""

    model: torch.nn.Module
    tokenizer: PreTrainedTokenizerBase
    name: str
    """Its Hugging Face id, or the last two parts of its folder's path."""
    fingerprint: str
    """Digest of weights and tokenizer."""

    @property
    def context(self) -> int | None:
        """Most tokens that it reads at once, None without a limit."""
        return getattr(self.model.config, "max_position_embeddings", None)

    @property
    def vocab_size(self) -> int:
        """Rows V of its head."""
        return self.model.get_output_embeddings().weight.shape[0]

    @cached_property
    def plain_head(self) -> bool:
        """Whether its logits are no more than the output embedding of the body's last hidden state,
        found by trial.
        """
        ids = torch.arange(4, device=self.model.device)[None]
        rows = self.model.base_model(ids, use_cache=False)[0][0]
        logits = wide(self.model(ids, use_cache=False).logits[0])
        return torch.allclose(self.project(rows), logits, rtol=1e-2, atol=1e-2)  # as close as bf16

    def project(self, rows: torch.Tensor) -> torch.Tensor:
        """Logits [n, V] of hidden states [n, D], in fp32 or wider."""
        head = self.model.get_output_embeddings()
        bias = getattr(head, "bias", None)
        return linear(wide(rows), wide(head.weight), None if bias is None else wide(bias))

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Its tokens of each text, without special tokens before or after.

        Its end-of-text token may be in a text; the name of another special token is plain text.
        """
        end = self.tokenizer.eos_token
        parts = [text.split(end) if end else [text] for text in texts]
        if not parts:
            return []
        ids = iter(encode(self.tokenizer, list(chain.from_iterable(parts))))
        encoded = []
        for pieces in parts:
            tokens = next(ids)
            for _ in pieces[1:]:
                tokens = [*tokens, self.tokenizer.eos_token_id, *next(ids)]
            encoded.append(tokens)
        return encoded

    @torch.no_grad()
    def nll(self, ids: torch.Tensor, scored: torch.Tensor) -> torch.Tensor:
        """-log p of the scored tokens, each given all tokens before it in its row, in nats.

        ids: [B, L], padded on the right with any tokens, since none before sees them; scored: [B,
        L] whether to score, False at position 0. Returns [n] float64, row by row. Only the hidden
        states before scored tokens are projected, a block at a time.
        """
        ids, scored = ids.to(self.model.device), scored[:, 1:].to(self.model.device)
        targets = ids[:, 1:][scored]
        project: Callable[[torch.Tensor], torch.Tensor] = wide
        if self.plain_head:
            rows = self.model.base_model(ids[:, :-1], use_cache=False)[0][scored]
            project = self.project
        else:
            rows = self.model(ids[:, :-1], use_cache=False).logits[scored]
        parts = []
        for block, target in zip(rows.split(ROW_BLOCK), targets.split(ROW_BLOCK)):
            logits = project(block)
            target_logits = logits.gather(1, target[:, None])[:, 0]
            parts.append(logits.logsumexp(-1).double() - target_logits.double())
        return torch.cat(parts).cpu()


def short_name(folder: Path) -> str:
    """The last two parts of a path, which are the same on every machine: docs/judge."""
    return "/".join(folder.absolute().parts[-2:])


def judge_of(folder: Path, named: str | None = None) -> str:
    """The judge that is named; without a name the family's own if it has one, else the bundled one
    of the text that all its members learned from, else GPT-2.

    folder: of the family. A family's own judge, and that of a bundled family, may be named as
    results name it.
    """
    if named and Path(named).expanduser().exists():
        return named
    for family in (Path(folder), family_folder(named.partition("/")[0] if named else None)):
        judge = family / FOLDER
        if named in (None, short_name(judge)) and (judge / "config.json").exists():
            return str(judge)
        if named is None:
            break
    return named or bundled_judge(Path(folder)) or GPT2


def bundled_judge(folder: Path) -> str | None:
    """The judge that comes with stepimp and learned from the same text as a family, if any."""
    texts = {facts.get("data") for facts in read_manifest(folder)["members"].values()}
    if len(texts) == 1 and texts <= set(BUNDLED):
        judge = family_folder(*texts) / FOLDER
        return str(judge) if (judge / "config.json").exists() else None
    return None


def load_judge(source: str, device="auto", dtype="float32") -> Judge:
    """Loads a causal language model from a folder or the Hugging Face hub, from safetensors only.
    No code that comes with it is run.

    Raises StepimpError if there is no such model, the hub does not answer, or the checkpoint is not
    a complete causal language model with finite weights and its tokenizer.
    """
    folder = Path(source).expanduser()
    if folder.exists() and not (folder / "config.json").is_file():
        raise StepimpError(
            f"{source} is not a judge: it has no config.json. Give a causal language model's "
            "folder or id."
        )
    if not folder.exists():
        offline_unless_reachable()
    device, path = pick_device(device), str(folder) if folder.exists() else source
    model = load_causal(path, source)
    tokenizer = open_tokenizer(path)
    rows = model.get_output_embeddings().weight.shape[0]
    ids = tokenizer.get_vocab().values()
    trained = trained_with(folder) or len(tokenizer)
    if not 1 < len(tokenizer) == trained <= rows or max(ids) >= rows:
        raise StepimpError(
            f"{source}: its tokenizer, of {len(tokenizer)} tokens up to the id {max(ids)}, does "
            "not fit the model: put the right one beside the weights."
        )
    name = short_name(folder) if folder.exists() else source
    prints = digest(fingerprint(model), tokenizer_fingerprint(tokenizer))
    return Judge(model.eval().to(device, getattr(torch, dtype)), tokenizer, name, prints)


def trained_with(folder: Path) -> int | None:
    """Tokens of the tokenizer that a judge of stepimp's own was trained with."""
    try:
        return parsed((folder / "recipe.json").read_bytes())["vocab_size"]
    except (OSError, ValueError, LookupError, TypeError):
        return None


def check_folder(folder: Path, config) -> None:
    """Raises StepimpError for a folder whose config has fields of a wrong type or more layers than
    there are tensors, or whose weights are missing, truncated or a Git LFS pointer.
    """
    check_types(read_config(folder), config)
    tensors = sum(len(read_header(file)) for file in safetensors_files(folder))
    if not tensors:
        raise StepimpError("it holds no model.safetensors.")
    layers = getattr(config, "num_hidden_layers", 1)
    if not is_int(layers) or not 0 < layers <= tensors:
        raise StepimpError(f"its config.json has {layers!r:.50} layers, in {tensors} tensors.")


def load_causal(path: str, source: str) -> torch.nn.Module:
    """A causal language model in fp32. source: what to call it in messages."""
    from transformers import AutoConfig, AutoModelForCausalLM

    quiet_transformers()
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        if Path(path).is_dir():
            check_folder(Path(path), config)
        architectures = config.architectures or []
        if fault(architectures, list[str]):
            raise StepimpError(f"its config.json has the architectures {architectures!r:.50}.")
        if not any(name.endswith(CAUSAL) for name in architectures):
            kind = ", ".join(architectures) or config.model_type
            raise StepimpError(
                f"{source} is not a causal language model but {kind}: give a judge such as gpt2."
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
    except StepimpError as error:
        raise StepimpError(f"Cannot load {source} as a judge: {error}") from error
    except LOADING_ERRORS as error:
        offline = "" if Path(path).exists() else OFFLINE_HINT
        raise StepimpError(
            f"Cannot load {source} as a judge: {first_line(error)}{offline}"
        ) from error
    problems = [*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])]
    problems += [name for name in report["unexpected_keys"] if not NO_WEIGHTS.search(name)]
    if problems:
        raise StepimpError(
            f"{source} does not fit its config.json: {', '.join(sorted(problems)[:4])}"
        )
    if not all(torch.isfinite(tensor).all() for tensor in model.parameters()):
        raise StepimpError(f"{source}: its weights hold NaN or Inf. Give another judge.")
    return model
