"""The paper's numbers, figures, tables and claims."""
