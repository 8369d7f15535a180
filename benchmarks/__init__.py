"""Measurements of pycontainers beside its peers and beside what the kernel alone costs.

`python -m benchmarks launch` is the command; README.md says how to read what it prints.
"""
