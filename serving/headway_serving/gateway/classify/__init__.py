"""Pictures in, labels and scores out: the gateway's own protocol."""
