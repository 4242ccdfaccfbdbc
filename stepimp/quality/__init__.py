"""Quality of generated text under a judge."""
