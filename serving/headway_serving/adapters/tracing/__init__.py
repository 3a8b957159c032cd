"""OpenTelemetry: where spans of recorded traces go. Imported only where OTEL_* variables ask for it."""
