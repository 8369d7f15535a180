"""One container's cgroup as an object: create, join, limit, read, freeze, kill, remove.

`base` says what a cgroup can be asked, `v1` and `v2` do it, `host` finds out which of them fits
this machine and where cgroups may be made, `systemd` asks for a place on machines that systemd
runs, and `plain` makes a cgroup again in another process.  See cgroups(7).

    >>> from pycontainers.kernel.cgroups import base, host
    >>> cgroup = host.find_host().cgroup("c1")          # doctest: +SKIP
    >>> cgroup.create(base.Limits(pids=100))            # doctest: +SKIP
"""
