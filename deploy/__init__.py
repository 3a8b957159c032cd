"""What watches Headway: rules for Prometheus, dashboards for Grafana, and the programs that make and check them."""
