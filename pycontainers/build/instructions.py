"""The instructions of a Dockerfile, as typed values that say what is written.

Variables are still in them: `expand` gives the same kinds of values without.  A `Command` is a text
for a shell, or the program with its arguments.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import attrs

from pycontainers.build.lines import Heredoc, heredoc_of
from pycontainers.build.mounts import RunMount

Command = str | tuple[str, ...]


class Pair(NamedTuple):
    """A name and its value; `legacy` if written without `=`."""

    name: str
    value: str
    legacy: bool = False


class Argument(NamedTuple):
    """What an ARG declares: a name, and a value for builds that give none."""

    name: str
    default: str | None = None


@attrs.frozen(kw_only=True)
class Instruction:
    """An instruction on the lines `start` to `end`, counted from 1.

    `source` is its text as written, heredocs included, and `text` what it says on one line;
    `comments` are those directly above.
    """

    name: ClassVar[str] = ""

    start: int
    end: int
    source: str = attrs.field(repr=False)
    text: str
    comments: tuple[str, ...] = attrs.field(default=(), repr=False)

    @property
    def keyword(self) -> str:
        """The instruction's name as written."""
        return self.text.split(maxsplit=1)[0]


@attrs.frozen(kw_only=True)
class From(Instruction):
    """Begin a stage from an image or another stage; `stage` is its name in lower case, or empty."""

    name: ClassVar[str] = "FROM"

    image: str
    stage: str = ""
    written_stage: str = attrs.field(default="", repr=False)
    written_as: str = attrs.field(default="", repr=False)
    platform: str = ""


@attrs.frozen(kw_only=True)
class Arg(Instruction):
    """Declare variables that the caller of a build may set."""

    name: ClassVar[str] = "ARG"

    arguments: tuple[Argument, ...]


@attrs.frozen(kw_only=True)
class Run(Instruction):
    """Run a command; what it changes becomes a layer.

    `mount_texts` are the values of `--mount` as written, `mounts` what they mean: those are there
    only when the instruction has been expanded.  `network` is default, none or host, `security`
    sandbox or insecure.
    """

    name: ClassVar[str] = "RUN"

    command: Command
    heredocs: tuple[Heredoc, ...] = ()
    mount_texts: tuple[str, ...] = ()
    mounts: tuple[RunMount, ...] = ()
    network: str = "default"
    security: str = "sandbox"

    @property
    def script(self) -> Heredoc | None:
        """The heredoc that is the whole command: the shell's text, or a program if it has `#!`."""
        if isinstance(self.command, str) and self.heredocs and heredoc_of(self.command):
            return self.heredocs[0]
        return None

    @property
    def shell_text(self) -> str:
        r"""What the shell is given; empty for a command in exec form.

        A shell reads the heredocs itself, unless one of them is the whole command.
        """
        if not isinstance(self.command, str):
            return ""
        if self.script:
            return self.script.text
        return with_documents(self.command, self.heredocs)


@attrs.frozen(kw_only=True)
class Cmd(Instruction):
    """Set what a container runs, or the arguments of its entrypoint."""

    name: ClassVar[str] = "CMD"

    command: Command


@attrs.frozen(kw_only=True)
class Entrypoint(Instruction):
    """Set the program that a container's command is given to."""

    name: ClassVar[str] = "ENTRYPOINT"

    command: Command


@attrs.frozen(kw_only=True)
class Files(Instruction):
    """What COPY and ADD have in common; heredocs are files named after them.

    `exclude` are patterns of what is left out, `chown` and `chmod` as written, empty without.
    """

    sources: tuple[str, ...]
    destination: str
    heredocs: tuple[Heredoc, ...] = ()
    chown: str = ""
    chmod: str = ""
    link: bool = False
    exclude: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Copy(Files):
    """Copy files of the context, a stage or an image."""

    name: ClassVar[str] = "COPY"

    from_: str = ""
    parents: bool = False


@attrs.frozen(kw_only=True)
class Add(Files):
    """Copy files of the context or of URLs, and unpack archives.

    `unpack` and `keep_git_dir` are None where nothing is said, and what is added decides.
    """

    name: ClassVar[str] = "ADD"

    checksum: str = ""
    keep_git_dir: bool | None = None
    unpack: bool | None = None


@attrs.frozen(kw_only=True)
class Env(Instruction):
    """Set environment variables."""

    name: ClassVar[str] = "ENV"

    pairs: tuple[Pair, ...]


@attrs.frozen(kw_only=True)
class Label(Instruction):
    """Set labels of the image."""

    name: ClassVar[str] = "LABEL"

    pairs: tuple[Pair, ...]


@attrs.frozen(kw_only=True)
class User(Instruction):
    """Set who runs the commands that follow, as `user[:group]`."""

    name: ClassVar[str] = "USER"

    user: str


@attrs.frozen(kw_only=True)
class Workdir(Instruction):
    """Set the working directory, from the one before if it is relative, and make it."""

    name: ClassVar[str] = "WORKDIR"

    path: str


@attrs.frozen(kw_only=True)
class Volume(Instruction):
    """Name directories that are volumes in a container."""

    name: ClassVar[str] = "VOLUME"

    paths: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Expose(Instruction):
    """Name ports that a container serves; sorted, and expanded to `80/tcp` each."""

    name: ClassVar[str] = "EXPOSE"

    ports: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Shell(Instruction):
    """Set the program with arguments that commands in shell form are given to."""

    name: ClassVar[str] = "SHELL"

    command: tuple[str, ...]


@attrs.frozen(kw_only=True)
class StopSignal(Instruction):
    """Set the signal that stops a container, by name or number."""

    name: ClassVar[str] = "STOPSIGNAL"

    signal: str


@attrs.frozen(kw_only=True)
class HealthCheck(Instruction):
    """Set how a container's health is checked; `command` is None to switch a base image's off.

    Durations are nanoseconds as in an image's config, where 0 is the default.
    """

    name: ClassVar[str] = "HEALTHCHECK"

    command: Command | None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0

    @property
    def test(self) -> tuple[str, ...]:
        """The check as an image's config has it."""
        if self.command is None:
            return ("NONE",)
        return (
            ("CMD-SHELL", self.command) if isinstance(self.command, str) else ("CMD", *self.command)
        )


@attrs.frozen(kw_only=True)
class OnBuild(Instruction):
    """Keep an instruction for builds from this image; `expression` is what the config keeps."""

    name: ClassVar[str] = "ONBUILD"

    expression: str
    trigger: Instruction


@attrs.frozen(kw_only=True)
class Maintainer(Instruction):
    """Name the image's author; LABEL does that better."""

    name: ClassVar[str] = "MAINTAINER"

    author: str


def with_documents(text: str, heredocs: tuple[Heredoc, ...]) -> str:
    r"""Give a command with its heredocs below it, as they were written.

    >>> with_documents("cat <<A", (Heredoc("A", "1\n"),))
    'cat <<A\n1\nA'
    """
    return text + "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in heredocs)
