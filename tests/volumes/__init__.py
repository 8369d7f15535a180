"""Volumes and mounts, with real containers."""
