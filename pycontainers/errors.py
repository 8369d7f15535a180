"""Everything that can go wrong, as one tree.

Each message says what failed, on what and why; `hint`, where there is one, says what to do.

    PyContainersError
    ├── NotFound (LookupError)
    │   └── ImageNotFound  ContainerNotFound  NetworkNotFound  VolumeNotFound
    ├── Conflict                    a name in use, or an object in the wrong state
    ├── InvalidArgument (ValueError)
    ├── ImageError                  an image or root file system that can't be used
    ├── BuildError                  a Dockerfile that can't be read or built; shows the line
    ├── RegistryError               a registry that refuses, or answers against the specification
    │   └── AuthenticationError  RateLimited  RegistryUnreachable
    ├── StoreError                  the data root or its database
    ├── NotSupported                what this host lacks, and how to get it
    ├── KernelError (OSError)       a system call, as strace(1) prints it
    │   └── FileMissing (FileNotFoundError)  FileInTheWay (FileExistsError)
    │       IsDirectory (IsADirectoryError)  NoDirectory (NotADirectoryError)
    │       AccessRefused (PermissionError)
    ├── LaunchError (OSError)       a step of a container's start
    │   └── CommandNotFound  PermissionDenied  BadExecutable
    ├── EngineError                 a helper process that ended or answered nonsense
    ├── CommandFailed               a non-zero exit, with `check=True`
    └── Timeout (TimeoutError)
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainers.lifecycle.result import CompletedRun


class PyContainersError(Exception):
    """The root of all errors of this library; `hint` says what the user can do about it."""

    hint: str | None = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        text = str(self.args[0]) if self.args else ""
        return f"{text}\n  {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[object, ...]:
        state = dict(self.__dict__)
        if isinstance(self, OSError):  # its two facts lie outside the instance's dictionary
            state |= {"errno": self.errno, "strerror": self.strerror}
        return _restore, (type(self), self.args, state)


def _restore(
    kind: type[PyContainersError], args: tuple[object, ...], state: dict[str, object]
) -> PyContainersError:
    """Make an error again in another process, whatever its constructor takes."""
    error = kind.__new__(kind, *args)
    error.args = args
    for name, value in state.items():
        setattr(error, name, value)
    return error


class NotFound(PyContainersError, LookupError):
    """Something named does not exist."""


class ImageNotFound(NotFound):
    """No image has that reference."""


class ContainerNotFound(NotFound):
    """No container has that name or id."""


class NetworkNotFound(NotFound):
    """No network has that name or id."""


class VolumeNotFound(NotFound):
    """No volume has that name."""


class Conflict(PyContainersError):
    """A name is in use, or an object is not in the state that the operation needs."""


class InvalidArgument(PyContainersError, ValueError):
    """An option has a value that can't be used; nothing has been created."""


class ImageError(PyContainersError):
    """An image, archive or root file system can't be used."""


class BuildError(PyContainersError):
    """A Dockerfile can't be read or built; the message shows the lines of the instruction.

    `file` and `line` say where, `instruction` is its text as written, `output` what its command
    printed last, `exit_code` how that ended; `problem` is the message without all these.  Errors of
    a part of an instruction have no place until `at` gives it; `near` is the words at fault.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str = "",
        line: int = 0,
        instruction: str = "",
        near: str = "",
        output: str = "",
        exit_code: int | None = None,
        hint: str | None = None,
    ) -> None:
        first = line
        if near and near in instruction:
            line += instruction.count("\n", 0, instruction.index(near))
        parts = [f"{file}:{line}: {problem}" if file and line else problem]
        if instruction:
            parts += _drawn(instruction, first, line)
        parts += [f"  {_printable(text)}" for text in output.rstrip().split("\n")[-_OUTPUT_LINES:]]
        super().__init__("\n".join(parts).rstrip(), hint=hint)
        self.problem = problem
        self.file = file
        self.line = line
        self.instruction = instruction
        self.near = near
        self.output = output
        self.exit_code = exit_code

    def at(self, file: str, line: int, instruction: str) -> BuildError:
        """Give the same error in its place, which is the line of `near`; one that has it stays."""
        if self.line:
            return self
        return BuildError(
            self.problem,
            file=file,
            line=line,
            instruction=instruction,
            near=self.near,
            output=self.output,
            exit_code=self.exit_code,
            hint=self.hint,
        )


_OUTPUT_LINES = 20
_LINES_AROUND = 3
_WIDTH = 160


def _drawn(instruction: str, first: int, wrong: int) -> list[str]:
    """Draw the lines of an instruction that begins at line `first`, with a mark at line `wrong`."""
    lines = instruction.split("\n")
    begin = max(0, wrong - first - _LINES_AROUND)
    end = min(len(lines), wrong - first + _LINES_AROUND + 1)
    width = len(str(first + end - 1))
    return [
        f"{'>' if first + at == wrong else ' '} {first + at:{width}} | {_printable(lines[at])}"
        for at in range(begin, end)
    ]


def _printable(text: str) -> str:
    """Give a line of somebody else's text that can do nothing to a terminal."""
    shown = text[: _WIDTH + 1].expandtabs(4).rstrip()
    shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in shown)
    return shown if len(shown) <= _WIDTH else f"{shown[:_WIDTH]}…"


class RegistryError(PyContainersError):
    """A registry refused, or answered against its specification; `status` is HTTP's, 0 without."""

    def __init__(self, message: str, *, status: int = 0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class AuthenticationError(RegistryError):
    """A registry wants other credentials, or none of ours may be sent where it asks for them."""


class RateLimited(RegistryError):
    """A registry has had too many requests; `retry_after` says how many seconds to wait."""

    def __init__(
        self, message: str, *, retry_after: float | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, status=429, hint=hint)
        self.retry_after = retry_after


class RegistryUnreachable(RegistryError):
    """No connection to a registry was made or held, also not after several attempts."""


class StoreError(PyContainersError):
    """The data root or its database can't be used."""


class NotSupported(PyContainersError):
    """This host lacks something; the hint says how to get it or do without."""


class EngineError(PyContainersError):
    """A helper process ended or could not be started."""


class Timeout(PyContainersError, TimeoutError):
    """A wait took longer than the caller allowed."""


class KernelError(PyContainersError, OSError):
    """A system call failed; `call` names it with its arguments, as strace(1) prints it."""

    def __init__(self, errno: int, call: str, *, hint: str | None = None) -> None:
        super().__init__(f"{call}: {os.strerror(errno)}", hint=hint)
        self.errno = errno
        self.strerror = os.strerror(errno)
        self.call = call


class FileMissing(KernelError, FileNotFoundError):
    """A file or directory of a container does not exist (ENOENT)."""


class FileInTheWay(KernelError, FileExistsError):
    """A name in a container is taken (EEXIST)."""


class IsDirectory(KernelError, IsADirectoryError):
    """A file of a container was asked for and a directory found (EISDIR)."""


class NoDirectory(KernelError, NotADirectoryError):
    """A directory of a container was asked for and something else found (ENOTDIR)."""


class AccessRefused(KernelError, PermissionError):
    """The kernel refuses access to a file of a container (EACCES, EPERM)."""


def file_error(number: int, call: str, *, hint: str | None = None) -> KernelError:
    """Give the error of a call on files: the kind that code for the builtin ones also catches.

    >>> isinstance(file_error(2, "open('/x')"), FileNotFoundError)
    True
    """
    kinds: dict[int, type[KernelError]] = {
        errno.ENOENT: FileMissing,
        errno.EEXIST: FileInTheWay,
        errno.EISDIR: IsDirectory,
        errno.ENOTDIR: NoDirectory,
        errno.EACCES: AccessRefused,
        errno.EPERM: AccessRefused,
    }
    return kinds.get(number, KernelError)(number, call, hint=hint)


class LaunchError(PyContainersError, OSError):
    """A step of a container's start failed; everything made for it has been undone.

    `step` is the step of the plan in words, `errno` the kernel's answer (0 where there is none).
    """

    def __init__(self, step: str, errno: int, detail: str, *, hint: str | None = None) -> None:
        super().__init__(f"cannot {step}: {detail}", hint=hint)
        self.step = step
        self.errno = errno
        self.strerror = detail


class CommandNotFound(LaunchError):
    """The command is not in the container's file system."""


class PermissionDenied(LaunchError):
    """The command is there, but can't be executed by the container's user."""


class BadExecutable(LaunchError):
    """The command is a file that this machine can't execute, as one of another architecture."""


class CommandFailed(PyContainersError):
    """A command ended with an exit status other than 0; `result` holds its whole outcome."""

    def __init__(
        self,
        message: str,
        result: CompletedRun[str] | CompletedRun[bytes],
        *,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.result = result
