"""What happens to a container by itself: whether it starts again, and how its health is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from pycontainers.errors import InvalidArgument
from pycontainers.lifecycle import values

if TYPE_CHECKING:
    from pycontainers.oci.config import ImageConfig

_POLICIES: Final = ("no", "on-failure", "always", "unless-stopped")
_SHELL: Final = ("/bin/sh", "-c")
_NANOSECONDS: Final = 1_000_000_000
_LEAST_NANOSECONDS: Final = 1_000_000  # Docker takes no duration below a millisecond
_DEFAULT: Final = {"interval": 30.0, "timeout": 30.0, "start_period": 0.0, "start_interval": 5.0}
_DEFAULT_RETRIES: Final = 3
_KEYS: Final = {"Test": "test", "Interval": "interval", "Timeout": "timeout", "Retries": "retries",
                "StartPeriod": "start_period", "StartInterval": "start_interval"}  # fmt: skip


@attrs.frozen
class RestartPolicy:
    """Whether a container that has ended is started again: Docker's four policies.

    `name` is no, on-failure, always or unless-stopped; `maximum` how often on-failure starts it
    again, 0 being without end.
    """

    name: str = "no"
    maximum: int = 0

    def __attrs_post_init__(self) -> None:
        values.choice("restart", self.name, _POLICIES)
        values.whole("restart", self.maximum, 0, (1 << 31) - 1)
        if self.maximum and self.name != "on-failure":
            raise InvalidArgument(f"restart: {self.name} has no maximum, only on-failure has")

    @classmethod
    def of(cls, value: str | Mapping[str, Any] | RestartPolicy | None) -> RestartPolicy:
        """Take "on-failure:3", docker-py's {"Name": …, "MaximumRetryCount": …} or a policy.

        Raises InvalidArgument.

        >>> RestartPolicy.of("on-failure:3")
        RestartPolicy(name='on-failure', maximum=3)
        """
        if isinstance(value, RestartPolicy):
            return value
        if value is None:
            return cls()
        if isinstance(value, Mapping):
            if unknown := set(value) - {"Name", "MaximumRetryCount"}:
                raise InvalidArgument(f"restart: {sorted(map(str, unknown))[0]!r} is no part of it")
            return cls(value.get("Name") or "no", value.get("MaximumRetryCount") or 0)
        if not isinstance(value, str):
            raise InvalidArgument(f"restart: expected a policy's name, not {value!r}")
        name, colon, maximum = value.partition(":")
        if colon and not (maximum.isascii() and maximum.isdigit() and len(maximum) < 11):
            raise InvalidArgument(f"restart: {value!r} is not of the form on-failure:3")
        return cls(name or "no", int(maximum) if colon else 0)

    def __str__(self) -> str:
        return f"{self.name}:{self.maximum}" if self.maximum else self.name


NO_RESTART: Final = RestartPolicy()


@attrs.frozen
class Healthcheck:
    """How a container's health is asked for, by a command in it that exits with 0.

    `command` is ("CMD", program, …), ("CMD-SHELL", text) or ("NONE",), which switches an image's
    check off; empty is the image's.  It is run every `interval` seconds, may take `timeout`, and
    `retries` failures in a row make the container unhealthy.  Within `start_period` seconds of the
    start failures don't count, and it is run every `start_interval`.  0 is what the image says, or
    else Docker's default: 30, 30, 3, 0 and 5; `effective` fills them in.
    """

    command: tuple[str, ...] = ()
    interval: float = 0.0
    timeout: float = 0.0
    start_period: float = 0.0
    start_interval: float = 0.0
    retries: int = 0

    def __attrs_post_init__(self) -> None:
        kind, *words = self.command or ("none given",)
        fits = {
            "none given": not self.command,
            "NONE": not words,
            "CMD": bool(words),
            "CMD-SHELL": len(words) == 1,
        }
        if not fits.get(kind) or (kind.startswith("CMD") and not words[0].strip()):
            raise InvalidArgument(
                f"healthcheck: {list(self.command)!r:.200} is no command",
                hint='write ["CMD", program, …], ["CMD-SHELL", text] or ["NONE"]',
            )
        for name in _DEFAULT:
            values.seconds(f"healthcheck {name}", getattr(self, name))
        values.whole("healthcheck retries", self.retries, 0, (1 << 31) - 1)

    @classmethod
    def of(cls, value: str | Sequence[str] | Mapping[str, Any] | Healthcheck) -> Healthcheck:
        """Take a text for the shell, a list of arguments, a mapping, or a check as it is.

        A list can begin with CMD, CMD-SHELL or NONE.  A mapping has docker-py's keys (`test`,
        `interval`, `timeout`, `retries`, `start_period`, `start_interval`, also as `StartPeriod`),
        or `command` for `test`.  Times are in seconds; a whole number from a million on is in
        nanoseconds, as docker-py gives them.  Raises InvalidArgument.

        >>> Healthcheck.of("curl -f localhost").command
        ('CMD-SHELL', 'curl -f localhost')
        """
        if isinstance(value, Healthcheck):
            return value
        if not isinstance(value, Mapping):
            return cls(_command(value))
        given = {_KEYS.get(key, key): item for key, item in value.items() if item is not None}
        if len(given) < sum(item is not None for item in value.values()):
            raise InvalidArgument("healthcheck: a key is given in two spellings")
        if "command" in given and "test" in given:
            raise InvalidArgument("healthcheck: test and command are the same; give one")
        test = given.pop("test", given.pop("command", ()))
        if unknown := set(given) - set(_DEFAULT) - {"retries"}:
            raise InvalidArgument(f"healthcheck: there is no {sorted(map(str, unknown))[0]!r}")
        times = {name: _seconds(name, given[name]) for name in _DEFAULT if name in given}
        return cls(_command(test), retries=given.get("retries", 0), **times)

    @classmethod
    def effective(cls, given: Healthcheck | None, config: ImageConfig) -> Healthcheck | None:
        """Give the check that is to run: what is given, before the image's, before the defaults.

        None where there is none, or it is switched off.  Raises InvalidArgument for times that are
        given without a command where the image has none.
        """
        image = _of_image(config)
        if given is None or not given.command:
            if image is None and given is not None:
                raise InvalidArgument("healthcheck: no command is given, and the image has none")
            command = () if image is None else image.command
        else:
            command = given.command
        if not command or command == ("NONE",):
            return None
        sources = [source for source in (given, image) if source is not None]
        times = {
            name: next((t for t in (getattr(s, name) for s in sources) if t), default)
            for name, default in _DEFAULT.items()
        }
        retries = next((s.retries for s in sources if s.retries), _DEFAULT_RETRIES)
        return cls(command, retries=retries, **times)

    def argv(self, shell: Sequence[str] = ()) -> tuple[str, ...]:
        """Give the arguments to execute; `shell` is the image's, if it has one.

        >>> Healthcheck(("CMD-SHELL", "true || false")).argv()
        ('/bin/sh', '-c', 'true || false')
        """
        if self.command[:1] == ("CMD-SHELL",):
            return (*(shell or _SHELL), self.command[1])
        return self.command[1:]


def _of_image(config: ImageConfig) -> Healthcheck | None:
    """Read an image's check; None for one of a kind that is not known, which Docker ignores too."""
    found = config.healthcheck
    if found is None:
        return None
    times = {name: getattr(found, name) / _NANOSECONDS for name in _DEFAULT}
    try:
        return Healthcheck(found.test, retries=min(found.retries, (1 << 31) - 1), **times)
    except InvalidArgument:
        return None


def _command(value: str | Sequence[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        return ("CMD-SHELL", values.text("healthcheck", value))
    if isinstance(value, bytes | bytearray) or not isinstance(value, Sequence):
        raise InvalidArgument(f"healthcheck: expected a text, list or mapping, not {value!r}")
    words = tuple(values.text("healthcheck", word) for word in value)
    return words if not words or words[0] in ("CMD", "CMD-SHELL", "NONE") else ("CMD", *words)


def _seconds(name: str, value: float) -> float:
    number = values.seconds(f"healthcheck {name}", value)
    nanoseconds = isinstance(value, int) and value >= _LEAST_NANOSECONDS
    return number / _NANOSECONDS if nanoseconds else number
