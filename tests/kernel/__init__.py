"""What Linux does, with real namespaces and cgroups, as root."""
