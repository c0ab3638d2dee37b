"""Hostile input: what strangers may send, tried in great numbers. `python -m tests.fuzz --help` says how."""
