"""Alerts and views for the backends that people already have, all made from one definition (`definition.py`)."""
