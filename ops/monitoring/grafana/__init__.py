"""Grafana dashboards as code: tables in, JSON out, and the way to a Grafana."""
