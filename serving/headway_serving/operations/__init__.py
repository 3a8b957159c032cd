"""What rollouts and repositories do."""
