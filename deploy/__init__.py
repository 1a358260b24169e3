"""Checks of what users run: the package without development tools (production), and compose.yaml (containers)."""
