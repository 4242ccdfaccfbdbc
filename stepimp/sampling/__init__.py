"""Samplers, and what sampling costs."""
