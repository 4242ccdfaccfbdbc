"""What the tiny random models of all layouts share: tokenizer, weights, files and references."""

import json

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

WIDTH, HEADS, LENGTH = 32, 2, 24
WORDS = [f"w{i}" for i in range(40)]


def word_tokenizer(mask: str | None = "[MASK]", bert=False, words=WORDS):
    """Words after the special tokens; with bert, sequences are framed by CLS and SEP."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] if bert else ["[UNK]"]
    names = [*special, *([mask] if mask else []), *words]
    backend = Tokenizer(models.WordLevel({n: i for i, n in enumerate(names)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    named = dict(unk_token="[UNK]") | ({"mask_token": mask} if mask else {})
    if bert:
        frame = [("[CLS]", 2), ("[SEP]", 3)]
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=frame
        )
        named |= dict(pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]")
    return PreTrainedTokenizerFast(tokenizer_object=backend, **named)


def randomised(model, seed: int):
    """All parameters random and large enough that predictions differ."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            centre = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0
            parameter.copy_(centre + 0.25 * torch.randn(parameter.shape, generator=draw))
    return model.eval()


def stored(model) -> dict:
    """The state dict without what is tied."""
    tied = model.all_tied_weights_keys
    return {n: t.clone() for n, t in model.state_dict().items() if n not in tied}


def write(folder, config: dict, tensors: dict, tokenizer):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / "model.safetensors")
    tokenizer.save_pretrained(folder)
    return str(folder)


def both_ways(model):
    """The reference forward pass of a causal class: an attention mask that lets all pass."""
    twin = type(model)(model.config).double().eval()
    twin.load_state_dict({n: t.double() for n, t in model.state_dict().items()})
    twin.config._attn_implementation = "eager"

    def logits(z):
        everywhere = torch.zeros(len(z), 1, z.shape[1], z.shape[1], dtype=torch.float64)
        return twin(input_ids=z, attention_mask=everywhere, use_cache=False).logits

    return logits


def shifted(logits):
    def of(z):
        rows = logits(z)
        return torch.cat((rows[:, :1], rows[:, :-1]), 1)

    return of
