"""What those who run the gateway ask: health, readiness, models, metrics."""
