"""Exhaustive search over coarse schedules."""
