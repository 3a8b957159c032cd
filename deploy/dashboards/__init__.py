"""The boards: what each shows, as values; made into Grafana's JSON, and drawn for the documentation, from the same."""
