"""run: one command in a container of its own, gone afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

from pycontainers.engine import Engine
from pycontainers.image import Image
from pycontainers.lifecycle import output, values
from pycontainers.lifecycle.completion import encoded
from pycontainers.lifecycle.oneshot import run_once
from pycontainers.lifecycle.options import Options, RunOptions
from pycontainers.lifecycle.streams import PIPE

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from pycontainers.lifecycle.options import Command, Size
    from pycontainers.lifecycle.result import CompletedRun


@overload
def run(
    command: Command | None = None,
    *,
    image: Image | str | None = None,
    input: str | bytes | None = None,
    check: bool = False,
    text: Literal[True] = True,
    stderr: int = PIPE,
    output_limit: Size = output.DEFAULT_LIMIT,
    engine: Engine | None = None,
    **options: Unpack[RunOptions],
) -> CompletedRun[str]: ...
@overload
def run(
    command: Command | None = None,
    *,
    image: Image | str | None = None,
    input: str | bytes | None = None,
    check: bool = False,
    text: Literal[False],
    stderr: int = PIPE,
    output_limit: Size = output.DEFAULT_LIMIT,
    engine: Engine | None = None,
    **options: Unpack[RunOptions],
) -> CompletedRun[bytes]: ...
def run(
    command: Command | None = None,
    *,
    image: Image | str | None = None,
    input: str | bytes | None = None,
    check: bool = False,
    text: bool = True,
    stderr: int = PIPE,
    output_limit: Size = output.DEFAULT_LIMIT,
    engine: Engine | None = None,
    **options: Unpack[RunOptions],
) -> CompletedRun[str] | CompletedRun[bytes]:
    r"""Run a command in a container of its own and give how it ended, with its output.

    A list is the argument list; a text is split as a shell would, but no shell runs.  `image=None`
    is this machine's own programs, `Image.host()`.  Changes to files stay in memory and are gone
    afterwards, unless `ephemeral=False` keeps them on disk for the time of the run.  After
    `timeout` seconds the container is killed; the output until then is in the result.  At most
    `output_limit` bytes a stream are kept.  `stderr=STDOUT` joins the streams in exact order.

    Raises InvalidArgument and NotSupported before anything is made, LaunchError where the command
    can't be started (CommandNotFound, PermissionDenied, BadExecutable), and with `check=True`
    CommandFailed for any other end than exit code 0.

    >>> run(["python3", "-c", "print(6 * 7)"]).stdout       # doctest: +SKIP
    '42\n'
    """
    engine = engine or Engine()
    limit, feed = values.size("output_limit", output_limit), encoded(input)
    options.setdefault("ephemeral", True)
    wanted = Image.showing(Options.of(command, **options), engine)
    source = Image.resolve(image, engine).source()
    result = run_once(
        engine.services(), source, wanted, feed=feed, text=text, stderr=stderr, limit=limit
    )
    if check:
        result.check_returncode()
    return result
