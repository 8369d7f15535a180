r"""pycontainers: a container engine that is a Python library; no daemon, no socket, no docker.

>>> import pycontainers
>>> pycontainers.run(["echo", "hello"]).stdout          # doctest: +SKIP
'hello\n'

The names below are loaded when they are first used: importing the package does nothing else.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainers.build.progress import BuildProgress
    from pycontainers.build.pruning import BuildRecord
    from pycontainers.command import run
    from pycontainers.container import Container
    from pycontainers.diagnosis import Report, doctor
    from pycontainers.distribution.commit import Change
    from pycontainers.distribution.progress import Progress
    from pycontainers.engine import Engine
    from pycontainers.errors import (
        AuthenticationError,
        BadExecutable,
        BuildError,
        CommandFailed,
        CommandNotFound,
        Conflict,
        ContainerNotFound,
        EngineError,
        ImageError,
        ImageNotFound,
        InvalidArgument,
        KernelError,
        LaunchError,
        NetworkNotFound,
        NotFound,
        NotSupported,
        PermissionDenied,
        PyContainersError,
        RateLimited,
        RegistryError,
        RegistryUnreachable,
        StoreError,
        Timeout,
        VolumeNotFound,
    )
    from pycontainers.image import Image
    from pycontainers.lifecycle.events import Event, Events
    from pycontainers.lifecycle.logs import Logs
    from pycontainers.lifecycle.mounts import Mount
    from pycontainers.lifecycle.policies import Healthcheck, RestartPolicy
    from pycontainers.lifecycle.result import CompletedRun, Usage
    from pycontainers.lifecycle.stats import NetworkStats, Stats, StatsStream
    from pycontainers.lifecycle.streams import DEVNULL, PIPE, STDOUT
    from pycontainers.lifecycle.top import ProcessInfo
    from pycontainers.network import Member, Network
    from pycontainers.oci.config import ImageConfig
    from pycontainers.path import ContainerPath
    from pycontainers.process import Process
    from pycontainers.registries import Registry
    from pycontainers.volume import Volume
    from pycontainers.watching import events

__version__ = "0.1.0"

_HOMES = {
    "build.progress": ("BuildProgress",),
    "build.pruning": ("BuildRecord",),
    "command": ("run",),
    "container": ("Container",),
    "diagnosis": ("Report", "doctor"),
    "distribution.commit": ("Change",),
    "distribution.progress": ("Progress",),
    "engine": ("Engine",),
    "errors": (
        "AuthenticationError",
        "BadExecutable",
        "BuildError",
        "CommandFailed",
        "CommandNotFound",
        "Conflict",
        "ContainerNotFound",
        "EngineError",
        "ImageError",
        "ImageNotFound",
        "InvalidArgument",
        "KernelError",
        "LaunchError",
        "NetworkNotFound",
        "NotFound",
        "NotSupported",
        "PermissionDenied",
        "PyContainersError",
        "RateLimited",
        "RegistryError",
        "RegistryUnreachable",
        "StoreError",
        "Timeout",
        "VolumeNotFound",
    ),
    "image": ("Image",),
    "lifecycle.events": ("Event", "Events"),
    "lifecycle.logs": ("Logs",),
    "lifecycle.mounts": ("Mount",),
    "lifecycle.policies": ("Healthcheck", "RestartPolicy"),
    "lifecycle.result": ("CompletedRun", "Usage"),
    "lifecycle.stats": ("NetworkStats", "Stats", "StatsStream"),
    "lifecycle.streams": ("DEVNULL", "PIPE", "STDOUT"),
    "lifecycle.top": ("ProcessInfo",),
    "network": ("Member", "Network"),
    "oci.config": ("ImageConfig",),
    "path": ("ContainerPath",),
    "process": ("Process",),
    "registries": ("Registry",),
    "volume": ("Volume",),
    "watching": ("events",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "AuthenticationError",
    "BadExecutable",
    "BuildError",
    "BuildProgress",
    "BuildRecord",
    "Change",
    "CommandFailed",
    "CommandNotFound",
    "CompletedRun",
    "Conflict",
    "Container",
    "ContainerNotFound",
    "ContainerPath",
    "Engine",
    "EngineError",
    "Event",
    "Events",
    "Healthcheck",
    "Image",
    "ImageConfig",
    "ImageError",
    "ImageNotFound",
    "InvalidArgument",
    "KernelError",
    "LaunchError",
    "Logs",
    "Member",
    "Mount",
    "Network",
    "NetworkNotFound",
    "NetworkStats",
    "NotFound",
    "NotSupported",
    "PermissionDenied",
    "Process",
    "ProcessInfo",
    "Progress",
    "PyContainersError",
    "RateLimited",
    "Registry",
    "RegistryError",
    "RegistryUnreachable",
    "Report",
    "RestartPolicy",
    "Stats",
    "StatsStream",
    "StoreError",
    "Timeout",
    "Usage",
    "Volume",
    "VolumeNotFound",
    "doctor",
    "events",
    "run",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
