"""Grafana dashboards as code: tables, their JSON, and the upload to a Grafana."""
