"""Two machines on one: network namespaces joined by a cable that can be pulled."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

ADDRESSES = ("10.213.7.1", "10.213.7.2")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def can_make_machines() -> bool:
    """Says whether namespaces and cables can be made here (root on Linux)."""
    try:
        with two_machines():
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


class Machines:
    """Two namespaces; `inside(0)` goes before a command to run it on the first."""

    def __init__(self, names: tuple[str, str]) -> None:
        self.names = names

    def inside(self, number: int) -> tuple[str, ...]:
        # Not `ip netns exec`, which wants to remount /sys and is not allowed to in a container.
        return ("nsenter", f"--net=/run/netns/{self.names[number]}")

    def cable(self, state: str) -> None:
        """Pulls the cable (`down`) or plugs it in (`up`)."""
        _ip("-n", self.names[0], "link", "set", "cable0", state)


@contextmanager
def two_machines() -> Iterator[Machines]:
    names = ("unclip-test-a", "unclip-test-b")
    for name in names:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)  # of a killed test
    try:
        for name in names:
            _ip("netns", "add", name)
        _ip(
            *("-n", names[0], "link", "add", "cable0", "type", "veth"),
            *("peer", "name", "cable1", "netns", names[1]),
        )
        for number, name in enumerate(names):
            link = f"cable{number}"
            _ip("-n", name, "addr", "add", f"{ADDRESSES[number]}/24", "dev", link)
            _ip("-n", name, "link", "set", link, "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield Machines(names)
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
