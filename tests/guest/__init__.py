"""Tests on kernels and cgroup layouts that this machine does not have, in an emulated guest."""
