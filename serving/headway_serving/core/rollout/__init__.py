"""What a rollout decides and why: pure functions over values, without clock, file or network."""
