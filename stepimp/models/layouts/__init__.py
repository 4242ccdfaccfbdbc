"""The checkpoint layouts that can be loaded: what each needs to become a denoiser."""
