"""What a multirun needs beyond Hydra: isolated jobs, finished ones skipped, and a table at the end."""
