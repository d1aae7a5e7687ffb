"""What every process of ours needs to be run: logs, an operations server, a clean start and stop."""
