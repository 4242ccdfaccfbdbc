"""Figures and the report, drawn from results files alone."""
