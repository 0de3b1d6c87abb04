"""Rows: reading them from files and hubs, and the embedded demo corpus."""
