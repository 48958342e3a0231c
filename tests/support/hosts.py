"""Other hosts, each a network and a host name of its own, from which a test runs programs."""

import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address

import pytest


@dataclass(frozen=True, slots=True)
class Host:
    """A network namespace that reaches this one, and nothing else, by one address."""

    name: str
    our_address: str

    @property
    def prefix(self) -> list[str]:
        """What is put before a command that is to run there."""
        renamed = 'hostname "$0" && exec "$@"'
        return ["ip", "netns", "exec", self.name, "unshare", "--uts", "sh", "-c", renamed, self.name]


@contextmanager
def other_host() -> Iterator[Host]:
    """A host until the block is left; where the kernel or our rights allow none the test is skipped."""
    missing = [program for program in ("ip", "unshare", "hostname") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"there is no {missing[0]} to make another host with")
    name = f"host-{secrets.token_hex(3)}"
    outer = f"to-{name}"[:15]
    # One of the 16,384 networks of four addresses in a range that is for benchmarks of network devices.
    number = secrets.randbelow(2**14)
    ours, theirs = (IPv4Address("198.18.0.0") + 4 * number + one for one in (1, 2))
    try:
        _ip("netns", "add", name)
        _ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("addr", "add", f"{ours}/30", "dev", outer)
        _ip("link", "set", outer, "up")
        _ip("-n", name, "addr", "add", f"{theirs}/30", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        yield Host(name, str(ours))
    finally:
        # The link goes with its other end.
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    ended = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if ended.returncode:
        pytest.skip(f"another host cannot be made here: ip {arguments[0]}: {ended.stderr.strip()}")
