"""One file per package format."""
