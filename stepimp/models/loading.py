"""From the names of models to denoisers that can run together."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stepimp.errors import StepimpError
from stepimp.models.family import read_manifest, resolve

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Family:
    """Denoisers that go together: model name -> denoiser, and the tokenizer they share."""

    denoisers: dict
    tokenizer: object

    @property
    def blocks(self) -> dict[str, int]:
        return {name: model.blocks for name, model in self.denoisers.items()}

    @property
    def fingerprints(self) -> dict[str, str]:
        return {name: model.fingerprint for name, model in self.denoisers.items()}

    @property
    def any(self):
        """One of the denoisers, for what all of them agree on."""
        return next(iter(self.denoisers.values()))


def open_tokenizer(source: str):
    """A transformers tokenizer from a folder or the hub."""
    from transformers import AutoTokenizer

    from stepimp.text.hub import offline_unless_reachable

    if not Path(source).is_dir():
        offline_unless_reachable()
    try:
        return AutoTokenizer.from_pretrained(source)
    except Exception as error:  # transformers and tokenizers share no exception type
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise StepimpError(f"Cannot load the tokenizer of {source}: {reason}") from None


def load_tokenizer(checkpoint: str):
    """The checkpoint's own tokenizer; GPT-2's for the public MDLM checkpoints, which ship none."""
    folder = Path(checkpoint).expanduser()
    if any((folder / file).exists() for file in TOKENIZER_FILES):
        return open_tokenizer(str(folder))
    if not folder.is_dir():
        with suppress(StepimpError):
            return open_tokenizer(checkpoint)
    try:
        return open_tokenizer("gpt2")
    except StepimpError:
        raise StepimpError(
            f"{checkpoint} has no tokenizer, and GPT-2's could not be fetched: put a tokenizer.json beside the weights."
        ) from None


def load(names, folder: Path, device="auto", dtype="float32", attn="auto") -> Family:
    """Loads models by name and checks that they can run together.

    Raises StepimpError for an unknown name, a broken checkpoint, or a different tokenizer,
    vocabulary, mask token or noise schedule."""
    from stepimp.models.checkpoints import load_checkpoint
    from stepimp.text.blocks import tokenizer_fingerprint

    checkpoints = {name: resolve(name, Path(folder)) for name in dict.fromkeys(names)}
    denoisers = {
        name: load_checkpoint(path, device, dtype, attn) for name, path in checkpoints.items()
    }
    tokenizers = {name: load_tokenizer(path) for name, path in checkpoints.items()}
    for name, tokenizer in tokenizers.items():
        if len(tokenizer) > denoisers[name].vocab_size:
            raise StepimpError(
                f"{name}: its tokenizer has {len(tokenizer)} tokens and the model {denoisers[name].vocab_size}: "
                "put the right tokenizer.json beside the weights."
            )
    first, *others = denoisers
    for other in others:
        for what in ("vocab_size", "mask_id", "noise"):
            a, b = getattr(denoisers[first], what), getattr(denoisers[other], what)
            if a != b:
                raise StepimpError(
                    f"{first} and {other} are not of one family: {what} is {a} in one, {b} in another."
                )
        if tokenizer_fingerprint(tokenizers[first]) != tokenizer_fingerprint(tokenizers[other]):
            raise StepimpError(
                f"{first} and {other} are not of one family: their tokenizers differ."
            )
    return Family(denoisers, tokenizers[first])


def members(folder: Path) -> list[dict]:
    """Name, blocks, parameters, seed, held-out NELBO and weight fingerprint of each member of a
    family folder.
    """
    from stepimp.models.checkpoints import load_checkpoint

    found = read_manifest(folder)["members"]
    if not found:
        raise StepimpError(f"{folder} holds no family: train one with stepimp train {folder}.")
    rows = []
    for name in sorted(found, key=lambda name: (found[name]["blocks"], name)):
        model = load_checkpoint(str(folder / name), device="cpu")
        rows.append(
            {
                "name": name,
                "blocks": model.blocks,
                "seed": found[name]["seed"],
                "heldout_nelbo_nats": found[name]["heldout_nelbo_nats"],
                "fingerprint": model.fingerprint,
                "parameters": sum(p.numel() for p in model.parameters()),
            }
        )
    return rows
