"""Step-importance curves: several models on the same corrupted inputs."""
