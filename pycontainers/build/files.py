"""COPY and ADD of a stage: what they copy, from where, and the layer that it makes."""

from __future__ import annotations

import contextlib
import functools
import posixpath
from typing import TYPE_CHECKING, Any

import attrs

from pycontainers.build import config as configs
from pycontainers.build import copying
from pycontainers.build.context import Context, archive
from pycontainers.build.gitrefs import GitSource, is_download
from pycontainers.build.gittrees import GitTree
from pycontainers.build.instructions import Add, Copy, Files
from pycontainers.build.making import Layer, key_of
from pycontainers.errors import BuildError, FileMissing, InvalidArgument
from pycontainers.storage.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pycontainers.build.context import Selection
    from pycontainers.build.progress import Step
    from pycontainers.build.stage import Result, StageBuild
    from pycontainers.distribution.compression import Reader


@attrs.frozen
class _Part:
    """Files from one place: a context, or a stage's layers, with the archives among them."""

    selection: Selection
    source: int | Sequence[str]
    archives: tuple[tuple[str, Reader], ...] = ()


@attrs.frozen
class _Wanted:
    """What the cache knows files by, and the files, which may not have been fetched yet."""

    digest: Any
    part: Callable[[], _Part]


def layer(stage: StageBuild, step_of: Files, step: Step) -> tuple[Layer, str]:
    """Give the layer of a COPY or ADD, and what the image's history tells."""
    with contextlib.ExitStack() as stack:
        return _Copying(stage, step_of, stack).layer(step)


class _Copying:
    def __init__(self, stage: StageBuild, instruction: Files, stack: contextlib.ExitStack) -> None:
        self._stage = stage
        self._build = stage.build
        self._it = instruction
        self._stack = stack
        self._destination = _destination(stage.result, instruction)
        self._remote = _remote(instruction)
        self._from: Result | None = None
        self._context = self._build.context
        if isinstance(instruction, Copy) and instruction.from_:
            other = self._build.source(stage.stage, instruction.from_)
            if isinstance(other, Context):
                self._context = other
            else:
                self._from = other

    def layer(self, step: Step) -> tuple[Layer, str]:
        said = self._said()
        asked = self._asked()
        maker = self._build.maker
        keys = []
        if self._from is not None:
            # As it is written: known without a look at the other stage's files.
            keys.append(key_of(*asked, self._from.key, list(self._it.sources)))
            found = maker.find(keys[0])
            if found is not None:
                step.cached()
                return found, said
        wanted = self._wanted(step)
        content = key_of(*asked, [one.digest for one in wanted])
        found = maker.find(content)
        if found is not None:
            step.cached()
            for key in keys:
                maker.alias(key, found)
            return found, said
        made = maker.make(
            [content, *keys],
            said,
            lambda changes: self._fill(changes, [one.part() for one in wanted]),
        )
        return made, said

    def _asked(self) -> list[Any]:
        it = self._it
        below = "" if it.link else self._stage.result.key
        unpack = it.unpack if isinstance(it, Add) else False
        parents = it.parents if isinstance(it, Copy) else False
        return [below, it.name, self._destination, it.chown, it.chmod, parents, unpack,
                list(it.exclude), len(it.heredocs), self._build.epoch]  # fmt: skip

    def _said(self) -> str:
        it = self._it
        parents = ["--parents"] if isinstance(it, Copy) and it.parents else []
        flags = [f"--{name}={value}" for name, value in (("chown", it.chown), ("chmod", it.chmod))
                 if value]  # fmt: skip
        documents = [f"<<{heredoc.name}" for heredoc in it.heredocs]
        return " ".join([it.name, *parents, *flags, *it.sources, *documents, it.destination])

    # What is copied.

    def _wanted(self, step: Step) -> list[_Wanted]:
        it = self._it
        parts = [self._documents()] if it.heredocs else []
        local = [one for one in it.sources if one not in self._remote]
        repositories = []
        for url, source in self._remote.items():
            if source is None:
                parts.append(self._fetched(url))
            else:
                repositories.append(self._repository(source, step))
        if local:
            parts.append(self._local(local))
        here = [_Wanted(part.selection.digest, functools.partial(_given, part)) for part in parts]
        return [*here, *repositories]

    def _repository(self, source: GitSource, step: Step) -> _Wanted:
        """Ask for a repository's commit; its files are fetched only where the cache has none."""
        build = self._build
        tree = self._stack.enter_context(
            GitTree(source, build.services, build.access, build.limits)
        )

        def part() -> _Part:
            step.output(f"fetching {tree.found.commit} {tree.found.ref}".rstrip().encode() + b"\n")
            context = self._stack.enter_context(tree.context())
            return _Part(context.select(["."], exclude=self._it.exclude), context.root_fd)

        return _Wanted(tree.key, part)

    def _local(self, sources: Sequence[str]) -> _Part:
        it = self._it
        parents = it.parents if isinstance(it, Copy) else False
        try:
            if self._from is not None:
                layers = self._from.paths()
                selection = copying.select_in_stage(
                    self._build.services, layers, sources, exclude=it.exclude, parents=parents
                )
                return _Part(selection, layers)
            selection = self._context.select(sources, exclude=it.exclude, parents=parents)
        except FileMissing as error:
            where = f" in {it.from_}" if isinstance(it, Copy) and it.from_ else ""
            hint = None
            if self._from is None and any(map(self._context.ignores, sources)):
                hint = "it is left out by the ignore file"
            raise BuildError(f"not found{where}: {error.call}", hint=hint) from None
        except InvalidArgument as error:
            raise BuildError(str(error.args[0])) from None
        return self._unpacked(_Part(selection, self._context.root_fd), self._context)

    def _unpacked(self, part: _Part, context: Context) -> _Part:
        """Take out the archives that ADD unpacks."""
        if not isinstance(self._it, Add) or self._it.unpack is False:
            return part
        archives, others = [], []
        for match in part.selection.matches:
            plain = context.archive(match) if match.path.strip("/") in self._named() else None
            if plain is None:
                others.append(match)
            else:
                self._stack.callback(plain.close)
                archives.append((match.path, self._stack.enter_context(plain)))
        selection = attrs.evolve(part.selection, matches=tuple(others))
        return _Part(selection, part.source, tuple(archives))

    def _named(self) -> set[str]:
        """Give the paths that sources name themselves: archives within directories stay."""
        return {posixpath.normpath(source).strip("/") for source in self._it.sources}

    def _documents(self) -> _Part:
        path = self._stack.enter_context(scratch(self._build.services.root.layers))
        for heredoc in self._it.heredocs:
            file = path / heredoc.name
            file.write_text(heredoc.text, encoding="utf-8", errors="surrogateescape")
            file.chmod(0o644)
        context = self._stack.enter_context(Context.directory(path, self._build.services))
        names = [heredoc.name for heredoc in self._it.heredocs]
        return _Part(context.select(names), context.root_fd)

    def _fetched(self, url: str) -> _Part:
        from pycontainers.build import fetching  # TLS and HTTP take 20 ms to load

        assert isinstance(self._it, Add)
        path = self._stack.enter_context(scratch(self._build.services.root.layers))
        name = fetching.fetch(url, path, self._it.checksum, self._build.progress.cancellation)
        context = self._stack.enter_context(Context.directory(path, self._build.services))
        selection = context.select([name])
        part = _Part(selection, context.root_fd)
        if self._it.unpack:
            plain = archive((path / name).open("rb"))
            if plain is not None:
                self._stack.callback(plain.close)
                empty = attrs.evolve(selection, matches=())
                return _Part(empty, context.root_fd, ((name, plain),))
        return part

    # Copying it.

    def _fill(self, changes: Path, parts: Sequence[_Part]) -> None:
        it, services = self._it, self._build.services
        lower = self._stage.result.paths()
        owner: tuple[int, int] | str | None = it.chown or None
        if it.link:
            if isinstance(owner, str):
                owner = copying.identify(services, lower, owner)
            lower = ()
        several = sum(len(part.selection.matches) + len(part.archives) for part in parts) > 1
        path = self._destination
        if several and len(it.sources) + len(it.heredocs) > 1 and not path.endswith("/"):
            raise BuildError(
                f"the destination {it.destination} of several sources must end with a slash"
            )
        target = copying.Target(path, changes, lower)
        wishes = copying.Wishes(owner, it.chmod or None, self._build.epoch)
        for part in parts:
            if part.selection.matches:
                copying.copy(services, part.selection, part.source, target, wishes)
            for _, plain in part.archives:
                inside = attrs.evolve(target, path=path if path.endswith("/") else f"{path}/")
                copying.add_archive(services, plain, inside, wishes, self._build.limits)


def _destination(result: Result, instruction: Files) -> str:
    """Give where files go, absolute; a slash at the end stays, as it tells a directory."""
    written = instruction.destination
    path = configs.joined(result.config, written)
    is_directory = written.endswith(("/", "/.")) or written in (".", "..")
    return path if not is_directory or path.endswith("/") else f"{path}/"


def _given(part: _Part) -> _Part:
    return part


def _remote(instruction: Files) -> dict[str, GitSource | None]:
    """Give the sources that are fetched: repositories, and URLs of files, for which it is None.

    Raises BuildError for what can't be.
    """
    found: dict[str, GitSource | None] = {}
    for source in instruction.sources:
        repository = GitSource.parse(source)
        if repository is not None or is_download(source):
            found[source] = repository
    if not isinstance(instruction, Add):
        if found:
            near = next(iter(found))
            raise BuildError(f"COPY does not fetch {near}", near=near, hint="ADD does")
        return found
    if instruction.checksum and (len(found) != 1 or len(instruction.sources) != 1):
        raise BuildError(
            "--checksum is for one source, a URL or a repository of Git", near="--checksum"
        )
    for source, repository in found.items():
        if repository is not None:
            checksum, keep = instruction.checksum, instruction.keep_git_dir
            found[source] = repository.with_wishes(checksum, keep)
    return found
