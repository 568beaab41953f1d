"""Alerts and dashboards for existing backends, all generated from one `AlertDefinition`."""
