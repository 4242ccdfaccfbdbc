"""What a command will cost, before it runs."""
