"""What is the same for every endpoint: who asks, how long it may take, what errors look like."""
