"""Text to token blocks: documents from files, bundled corpora or the hub, tokenized and cached."""
