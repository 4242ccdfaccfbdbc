"""The shape of an MDLM: its `config.json`, as the public checkpoints have it."""

from transformers import PreTrainedConfig


class MDLMConfig(PreTrainedConfig):
    """Shape of an MDLM. The mask token is the last of the vocabulary unless `mask_token_id` says
    otherwise.
    """

    model_type = "mdlm"
    attribute_map = {
        "hidden_size": "hidden_dim",
        "num_hidden_layers": "n_blocks",
        "num_attention_heads": "n_heads",
        "max_position_embeddings": "model_length",
    }

    def __init__(
        self,
        vocab_size: int = 50258,
        model_length: int = 1024,
        hidden_dim: int = 768,
        cond_dim: int = 128,
        n_blocks: int = 12,
        n_heads: int = 12,
        dropout: float = 0.1,
        time_conditioning: bool = False,
        noise: str = "loglinear",
        mask_token_id: int | None = None,
        **kwargs,
    ):
        self.vocab_size = vocab_size
        self.model_length = model_length
        self.hidden_dim = hidden_dim
        self.cond_dim = cond_dim
        self.n_blocks = n_blocks
        self.n_heads = n_heads
        self.dropout = dropout
        self.time_conditioning = time_conditioning
        self.noise = noise
        self.mask_token_id = vocab_size - 1 if mask_token_id is None else mask_token_id
        super().__init__(**{"tie_word_embeddings": False, **kwargs})
