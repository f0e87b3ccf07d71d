"""Sweeps beyond Hydra's own: isolated jobs, finished jobs are skipped, and a table at the end."""
