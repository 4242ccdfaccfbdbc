"""Denoisers: the protocol, the checkpoints that follow it, and families of them."""
