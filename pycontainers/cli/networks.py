"""Networks: their commands, the ports of containers, and the flags of `run` about both."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, cast

import pycontainers as pc
from pycontainers.cli import flags, tables
from pycontainers.cli.commands import Command, agreed, each_name, names
from pycontainers.cli.containers import add_prune
from pycontainers.cli.looking import add_inspect, inspect

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from pycontainers.lifecycle.options import RunOptions

_NETWORKS: Final = {"NETWORK ID": "ID", "NAME": "Name", "SUBNETS": "Subnets",
                    "INTERNAL": "Internal", "CONTAINERS": "Containers"}  # fmt: skip


def add_options(parser: ArgumentParser) -> None:
    """Let a command take what a container is created with, as to networks."""
    add = parser.add_argument

    def several(*flags: str, dest: str, metavar: str, help: str) -> None:
        add(*flags, dest=dest, action="append", metavar=metavar, help=help)

    several("--network", "--net", dest="network", metavar="NETWORK",
            help="none, the default without ports, host, bridge, "
                 "container:NAME, or a network")  # fmt: skip
    several("-p", "--publish", dest="ports", metavar="[[ADDRESS:]PORT:]PORT[/PROTOCOL]",
            help="lead a port of the host to one of the container")  # fmt: skip
    add("-P", "--publish-all", action="store_true", default=None,
        help="lead random ports to those that the image names")  # fmt: skip
    add("--ip", metavar="ADDRESS", help="IPv4 address in the first network")
    add("--ip6", metavar="ADDRESS", help="IPv6 address in the first network")
    add("--mac-address", dest="mac", metavar="MAC", help="hardware address in the first network")
    several("--network-alias", "--net-alias", dest="aliases", metavar="NAME",
            help="a further name in the first network")  # fmt: skip
    several("--dns", dest="dns", metavar="ADDRESS", help="a name server")
    several("--dns-search", dest="dns_search", metavar="DOMAIN",
            help="where short names are looked for; . for nowhere")  # fmt: skip
    several("--dns-option", "--dns-opt", dest="dns_options", metavar="OPTION",
            help="an option of the resolver, as ndots:2")  # fmt: skip
    several("--add-host", dest="extra_hosts", metavar="NAME:ADDRESS",
            help="a line of /etc/hosts; the address may be host-gateway")  # fmt: skip
    add("--network-rate", type=_rate, metavar="RATE",
        help="limit of each direction, as 10mbit, or in bytes a second")  # fmt: skip
    add("--network-priority", type=int, metavar="N", help="of what it sends, 0 to 15")


def options(args: Namespace) -> RunOptions:
    """Give the options that the flags mean."""
    words = (
        "network ports publish_all ip ip6 mac aliases dns dns_search dns_options network_rate "
        "network_priority"
    )
    found = {name: getattr(args, name) for name in words.split()}
    if args.extra_hosts:
        found["extra_hosts"] = [item.replace("=", ":", 1) for item in args.extra_hosts]
    return cast("RunOptions", {name: one for name, one in found.items() if one is not None})


def _rate(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _add_create(parser: ArgumentParser) -> None:
    add = parser.add_argument
    for flag, metavar, help_ in (
        ("--subnet", "SUBNET", "as 10.5.0.0/16; one of each version of IP"),
        ("--gateway", "ADDRESS", "the host's address in it"),
        ("--ip-range", "SUBNET", "the part of the subnet that containers' addresses are of"),
    ):
        add(flag, action="append", metavar=metavar, help=help_)
    add("--ipv6", action="store_true", help="have a subnet of IPv6 too")
    add("--internal", action="store_true", help="let nothing out of it, or in")
    add("--host-access", action="store_true", help="let containers reach the host's services")
    add("--mtu", type=int, metavar="BYTES", help="the largest packet")
    add("--label", action="append", default=[], metavar="KEY[=VALUE]", help="a label")
    names(parser, many=False, what="network")


def _do_create(args: Namespace) -> None:
    network = pc.Network.create(
        args.name,
        subnet=args.subnet,
        gateway=args.gateway,
        ip_range=args.ip_range,
        ipv6=args.ipv6,
        internal=args.internal,
        host_access=args.host_access,
        mtu=args.mtu,
        labels=flags.pairs("--label", args.label, empty=True),
    )
    print(network.id)


def _add_ls(parser: ArgumentParser) -> None:
    flags.add_filter(parser)
    tables.add_format(parser, quiet=True, truncates=True)


def _do_ls(args: Namespace) -> None:
    rows = []
    for network in pc.Network.list(filters=flags.filters(args.filter)):
        with contextlib.suppress(pc.NetworkNotFound):  # removed meanwhile
            rows.append(
                {
                    "ID": tables.short(network.id, args),
                    "Name": network.name,
                    "Subnets": ", ".join(network.subnets),
                    "Internal": str(network.internal).lower(),
                    "Containers": str(len(network.containers)),
                    "CreatedAt": tables.date(network.created),
                    "Labels": ",".join(f"{key}={value}" for key, value in network.labels.items()),
                }
            )
    tables.show(rows, _NETWORKS, args)


def _add_inspect(parser: ArgumentParser) -> None:
    add_inspect(parser, what="network")


def _do_inspect(args: Namespace) -> int:
    return inspect(args, lambda name: pc.Network.get(name).attrs)


def _add_rm(parser: ArgumentParser) -> None:
    names(parser, what="network")


def _do_rm(args: Namespace) -> int:
    return each_name(args.names, lambda name: pc.Network.get(name).remove())


def _add_prune(parser: ArgumentParser) -> None:
    add_prune(parser)
    parser.add_argument("--filter", action="append", default=[], metavar="KEY=VALUE")


def _do_prune(args: Namespace) -> int:
    if not agreed(args, "all networks that no container is in"):
        return 1
    for name in pc.Network.prune(filters=flags.filters(args.filter)):
        print(name)
    return 0


def _add_connect(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--ip", metavar="ADDRESS", help="IPv4 address")
    add("--ip6", metavar="ADDRESS", help="IPv6 address")
    add("--mac-address", dest="mac", metavar="MAC", help="hardware address")
    add("--alias", action="append", default=[], metavar="NAME", help="a further name in it")
    _add_both(parser)


def _do_connect(args: Namespace) -> None:
    container = pc.Container.get(args.container)
    pc.Network.get(args.network).connect(
        container, aliases=args.alias, ip=args.ip, ip6=args.ip6, mac=args.mac
    )


def _add_both(parser: ArgumentParser) -> None:
    parser.add_argument("network", metavar="NETWORK")
    parser.add_argument("container", metavar="CONTAINER")


def _do_disconnect(args: Namespace) -> None:
    container = pc.Container.get(args.container)
    pc.Network.get(args.network).disconnect(container)


def _add_port(parser: ArgumentParser) -> None:
    names(parser, many=False)
    parser.add_argument("port", nargs="?", metavar="PORT[/PROTOCOL]", help="only this one")


def _do_port(args: Namespace) -> None:
    """Print where on the host the ports of a container are reached."""
    published = pc.Container.get(args.name).ports
    if args.port is None:
        for key, ends in published.items():
            for end in ends:
                print(f"{key} -> {tables.end(*end)}")
        return
    key = args.port if "/" in args.port else f"{args.port}/tcp"
    if key not in published:
        raise pc.InvalidArgument(f"port: {key} of {args.name} is not published now")
    for end in published[key]:
        print(tables.end(*end))


COMMANDS: Final = (
    Command("network create", "make a network", _add_create, _do_create),
    Command("network ls", "list networks", _add_ls, _do_ls),
    Command("network inspect", "print all that is known of networks", _add_inspect, _do_inspect),
    Command("network rm", "remove networks", _add_rm, _do_rm),
    Command("network prune", "remove all that no container is in", _add_prune, _do_prune),
    Command("network connect", "bring a container into a network", _add_connect, _do_connect),
    Command("network disconnect", "take a container out of one", _add_both, _do_disconnect),
    Command("port", "list a container's published ports", _add_port, _do_port),
)
