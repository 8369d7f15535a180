"""Variables: who sees which value, where they are expanded, and what is defined in advance."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pycontainers.build import instructions as i
from pycontainers.build.expand import expand
from pycontainers.build.mounts import RunMount, fields
from pycontainers.build.parse import parse
from pycontainers.build.scope import DEFAULT_PATH, Globals, Scope, predefined, proxies
from pycontainers.errors import BuildError
from pycontainers.oci.platform import Platform

ARM = Platform.parse("linux/arm/v7")
AMD = Platform.parse("linux/amd64")


def expanded(text: str, values: Mapping[str, str], escape: str = "\\") -> i.Instruction:
    head = "" if escape == "\\" else f"# escape={escape}\n"
    (instruction,) = parse(f"{head}FROM scratch\n{text}").stages[0].instructions
    return expand(instruction, values, escape).instruction


def scope_after(text: str, build_args: Mapping[str, str] | None = None, **image: str) -> Scope:
    """Give the variables at the end of the first stage."""
    dockerfile = parse(text)
    known = predefined(ARM, AMD)
    scope = Scope(Globals.of(dockerfile, build_args or {}, known), image)
    for instruction in dockerfile.stages[0].instructions:
        scope.apply(instruction)
    return scope


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("ADD $a b$a/", "sources", ("1",)),
        ("ADD $a b$a/", "destination", "b1/"),
        ("ADD --chown=$a --checksum=$a x y", "chown", "1"),
        ("ADD --checksum=sha256:$a x y", "checksum", "sha256:1"),
        ("COPY --chmod=0$a --chown=u:$a x '$a' y", "sources", ("x", "$a")),
        ("COPY --chmod=0$a x y", "chmod", "01"),
        ("COPY --exclude=$a x y", "exclude", ("$a",)),
        (r"COPY \$a y", "sources", ("$a",)),
        ("ENV b=$a $a=c", "pairs", (("b", "1", False), ("1", "c", False))),
        ("ENV b  say \"$a\"  '$a'", "pairs", (("b", "say 1  $a", True),)),
        ("LABEL b=\"$a\" c='$a'", "pairs", (("b", "1", False), ("c", "$a", False))),
        ("EXPOSE $a 8$a/udp", "ports", ("1/tcp", "81/udp")),
        ("EXPOSE ${many}", "ports", ("8/tcp", "9/tcp")),
        ("STOPSIGNAL SIG$a", "signal", "SIG1"),
        ("USER $a:$a", "user", "1:1"),
        ('VOLUME ["/$a", "/b"]', "paths", ("/1", "/b")),
        ("WORKDIR /a/$a", "path", "/a/1"),
        ("RUN echo $a", "command", "echo $a"),
        ('CMD ["$a"]', "command", ("$a",)),
        ("ENTRYPOINT $a", "command", "$a"),
        ("HEALTHCHECK CMD $a", "command", "$a"),
        ('SHELL ["$a"]', "command", ("$a",)),
        ("ONBUILD ENV x=$a", "expression", "ENV x=$a"),
        ("MAINTAINER $a", "author", "$a"),
    ],
)
def test_each_instruction_has_variables_where_docker_expands_them(
    text: str, field: str, value: object
) -> None:
    assert getattr(expanded(text, {"a": "1", "many": "8 9"}), field) == value


def test_the_escape_character_of_the_file_counts() -> None:
    found = expanded(r"WORKDIR C:\`$a\$a", {"a": "1"}, "`")

    assert isinstance(found, i.Workdir)
    assert found.path == r"C:\$a\1"


def test_heredocs_that_are_copied_have_variables_unless_quoted() -> None:
    text = "COPY <<A <<'B' <<-C /x\n'$a' \\$a\nA\n$a\nB\n\t$t$a\nC\n"

    found = expanded(text, {"a": "1", "t": "\t"})

    assert isinstance(found, i.Copy)
    assert [heredoc.content for heredoc in found.heredocs] == ["'1' $a\n", "$a\n", "\t1\n"]


def test_mounts_are_typed_when_variables_are_known() -> None:
    found = expanded(
        "RUN --mount=type=$kind,target=/$a,id=x$a,uid=$a --mount=type=bind,from=b,dst=/y,rw x",
        {"a": "1", "kind": "cache"},
    )

    assert isinstance(found, i.Run)
    assert found.mounts == (
        RunMount(type="cache", target="/1", id="x1", uid=1, read_only=False, sharing="shared"),
        RunMount(from_="b", target="/y", read_only=False),
    )


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("target=/x", RunMount(target="/x")),
        ("type=BIND,dst=/x,src=a,readonly=false", RunMount(target="/x", source="a",
                                                           read_only=False)),
        ("type=tmpfs,target=/x,size=1.5m", RunMount(type="tmpfs", target="/x", size=1572864,
                                                   read_only=False)),
        ("type=cache,target=/a/../b,sharing=LOCKED,mode=0700,gid=5,ro",
         RunMount(type="cache", target="/a/../b", id="/b", sharing="locked", mode=0o700, gid=5)),
        ("type=secret,id=k", RunMount(type="secret", id="k", target="/run/secrets/k")),
        ("type=secret,id=k,env=KEY,required", RunMount(type="secret", id="k", env="KEY",
                                                       required=True)),
        ("type=secret,target=/a/key,mode=400", RunMount(type="secret", id="key", target="/a/key",
                                                        mode=0o400)),
        ("type=secret,source=dir/k", RunMount(type="secret", id="dir/k",
                                              target="/run/secrets/k")),
        ("required=true,type=ssh", RunMount(type="ssh", id="default", required=True)),
        ('type=bind,"source=a,b",target=/x', RunMount(source="a,b", target="/x")),
    ],
)  # fmt: skip
def test_mounts_mean_what_they_say(text: str, meant: RunMount) -> None:
    assert RunMount.parse(text, str) == meant


@pytest.mark.parametrize(
    "text",
    ["", "type=volume", "type", "target", "sauce=x", "type=bind,size=1", "type=bind,uid=1",
     "type=tmpfs,mode=1", "type=bind,sharing=private", "type=cache,sharing=some",
     "type=bind,required", "type=secret", "type=secret,id=a,src=b", "type=secret,id=a,from=b",
     "type=ssh,src=a", "ro=2", "type=cache,mode=8", "type=cache,uid=-1",
     "type=cache,uid=4294967296", "type=tmpfs,size=x", "type=tmpfs,size=9999999p", "from=$a",
     'type=bind,"a', 'a"b', "type=bind,"],
)  # fmt: skip
def test_wrong_mounts_are_refused(text: str) -> None:
    with pytest.raises(BuildError):
        RunMount.parse(text, str)


def test_fields_may_be_quoted() -> None:
    assert fields('a,"b "",c",,d') == ["a", 'b ",c', "", "d"]


def test_one_env_sees_the_values_from_before() -> None:
    scope = scope_after("FROM a\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc\n")

    assert (scope.image["def"], scope.image["ghi"]) == ("hello", "bye")


def test_one_arg_sees_those_before_it() -> None:
    scope = scope_after("FROM a\nARG a=1 b=${a}2\n", {})

    assert scope.environment["b"] == "12"


def test_args_are_seen_and_do_not_stay_in_the_image() -> None:
    scope = scope_after("FROM a\nARG a=1\nENV b=$a\n")

    assert scope.environment == {"PATH": DEFAULT_PATH, "a": "1", "b": "1"}
    assert scope.image == {"PATH": DEFAULT_PATH, "b": "1"}
    assert scope.arguments == {"a": "1"}


def test_what_the_caller_sets_wins_and_is_not_expanded() -> None:
    scope = scope_after("FROM a\nARG a=1\nARG b\nARG c=${d:?}\n", {"a": "$x", "c": "'", "z": "1"})

    assert scope.arguments == {"a": "$x", "b": None, "c": "'"}
    assert "z" not in scope.environment


def test_args_before_from_are_known_to_stages_that_declare_them() -> None:
    scope = scope_after(
        "ARG v=12\nARG w=${v}.1\nFROM debian:$w\nENV a=$v\nARG v\nENV b=$v\nARG w=x"
    )

    assert (scope.image["a"], scope.image["b"], scope.environment["w"]) == ("", "12", "x")


def test_from_sees_args_before_the_first_from_only() -> None:
    dockerfile = parse("ARG v=12\nFROM debian:$v AS a\nARG v=13\nARG x=1\nFROM debian:$v$x\n")
    globals = Globals.of(dockerfile, {}, predefined(ARM, AMD))

    first, second = (globals.origin(stage.begin).image for stage in dockerfile.stages)

    assert (first.text, second.text) == ("debian:12", "debian:12")
    assert (first.missing, second.missing) == ((), ("x",))


def test_platforms_are_defined_before_the_first_from() -> None:
    dockerfile = parse("FROM --platform=$BUILDPLATFORM a\nARG TARGETARCH\nARG TARGETVARIANT=x\n")
    globals = Globals.of(dockerfile, {}, predefined(ARM, AMD, "final"))
    scope = Scope(globals, {})
    for instruction in dockerfile.stages[0].instructions:
        scope.apply(instruction)

    assert globals.origin(dockerfile.stages[0].begin).platform.text == "linux/amd64"
    assert globals.values["TARGETPLATFORM"] == "linux/arm/v7"
    assert globals.values["TARGETSTAGE"] == "final"
    assert (scope.environment["TARGETARCH"], scope.environment["TARGETVARIANT"]) == ("arm", "x")


def test_predefined_variables_can_be_set() -> None:
    globals = Globals.of(parse("FROM a"), {"TARGETOS": "plan9"}, predefined(ARM, AMD))

    assert globals.values["TARGETOS"] == "plan9"


def test_proxies_need_no_arg_and_are_no_variables() -> None:
    scope = scope_after("FROM a\nENV a=$HTTP_PROXY\n", {"HTTP_PROXY": "x", "no_proxy": "y"})

    assert scope.image["a"] == ""
    assert proxies({"HTTP_PROXY": "x", "no_proxy": "y", "other": "z"}) == {
        "HTTP_PROXY": "x", "http_proxy": "x", "NO_PROXY": "y", "no_proxy": "y",
    }  # fmt: skip


def test_a_stage_from_another_inherits_its_variables_and_changes_its_own() -> None:
    scope = scope_after("FROM a\nARG a=1\nENV b=2\n", PATH="/bin")

    child = scope.child()
    child.apply(parse("FROM x\nENV b=3\n").stages[0].instructions[0])

    assert child.environment == {"PATH": "/bin", "a": "1", "b": "3"}
    assert child.image == {"PATH": "/bin", "b": "3"}
    assert scope.environment["b"] == "2"


def test_undefined_variables_are_told() -> None:
    dockerfile = parse("FROM a\nARG known\nENV a=$known$other${third:-x}\nARG b=$fourth$known\n")
    scope = Scope(Globals.of(dockerfile, {}, {}), {})

    missing = [scope.apply(one).missing for one in dockerfile.stages[0].instructions]

    assert missing == [(), ("other", "third"), ("fourth",)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("FROM $none", "gives no image"),
        ("FROM --platform=$none a", "gives '', which is no platform"),
        ("FROM --platform=a/b/c/d a", "is no platform"),
        ("FROM ${none:?pick-one}", "none: pick-one"),
    ],
)
def test_a_from_that_means_nothing_is_refused(text: str, problem: str) -> None:
    dockerfile = parse(text)
    globals = Globals.of(dockerfile, {}, {})

    with pytest.raises(BuildError, match=problem):
        globals.origin(dockerfile.stages[0].begin)


def test_errors_of_args_before_from_have_their_line() -> None:
    with pytest.raises(BuildError, match=r"^Dockerfile:2: b: has no value"):
        Globals.of(parse("ARG a=1\nARG c=${b?}\nFROM x\n"), {}, {})


def test_an_env_that_fails_changes_nothing() -> None:
    dockerfile = parse("FROM a\nENV a=1 b=${c:?}\n")
    scope = Scope(Globals.of(dockerfile, {}, {}), {})

    with pytest.raises(BuildError):
        scope.apply(dockerfile.stages[0].instructions[0])

    assert scope.image == scope.environment == {"PATH": DEFAULT_PATH}


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", ("80/tcp",)),
        ("80/TCP 80", ("80/tcp",)),
        ("8000-8002/udp", ("8000/udp", "8001/udp", "8002/udp")),
        ("127.0.0.1:80:81", ("81/tcp",)),
        ("[::1]:80:81/sctp", ("81/sctp",)),
        ("8080:80", ("80/tcp",)),
        ("80/", ("80/tcp",)),
    ],
)
def test_ports_as_a_config_has_them(text: str, ports: tuple[str, ...]) -> None:
    found = expanded(f"EXPOSE {text}", {})

    assert isinstance(found, i.Expose)
    assert found.ports == ports


@pytest.mark.parametrize(
    "port", ["x", "80/x", "65536", "9-8", "-1", "a:1:2", "1-2:3-9", ":80:", "1.2.3.4:x:80"]
)
def test_what_is_no_port_is_refused(port: str) -> None:
    with pytest.raises(BuildError):
        expanded(f"EXPOSE {port}", {})
