"""Two network namespaces of Linux, connected by a link whose rate and delay can be changed. Requires root.

Each namespace has a TAP device. A token bucket of the kernel (`tc qdisc ... tbf`) limits its sending rate. A thread of
this process forwards the frames after the delay, because kernels without `netem` cannot delay them.
"""

import fcntl
import os
import select
import struct
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

# constants of <linux/if_tun.h>
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6 = 0x01, 0x02, 0x04
MAX_FRAME_BYTES = 1 << 17  # larger than any frame
MTU = 9000
SEGMENT_BYTES = 65_536  # largest piece that the kernel passes to a device
BURST_BYTES = 131_072  # bytes that the token bucket lets pass without limit after a pause
WINDOW_SEGMENTS = 4000  # more than a message has; avoids slow start at the beginning of a connection
TCP_SETTINGS = {  # buffers larger than a message, and no slow start after the pause between steps
    "tcp_slow_start_after_idle": "0",
    "tcp_rmem": "4096 33554432 67108864",
    "tcp_wmem": "4096 33554432 67108864",
}


class Wire(threading.Thread):
    """A thread that forwards frames between two TAP devices after `delay` seconds."""

    def __init__(self, taps: tuple[int, int]) -> None:
        super().__init__(daemon=True)
        self.taps, self.delay, self.is_ended = taps, 0.0, False

    def run(self) -> None:
        waiting: deque[tuple[float, int, bytes]] = deque()
        other_tap = dict(zip(self.taps, reversed(self.taps), strict=True))
        while not self.is_ended:
            now = time.perf_counter()
            while waiting and waiting[0][0] <= now:
                _, tap, frame = waiting.popleft()
                os.write(tap, frame)
            timeout = min(max(waiting[0][0] - now, 0.0), 0.2) if waiting else 0.2
            for tap in select.select(self.taps, (), (), timeout)[0]:
                try:
                    frame = os.read(tap, MAX_FRAME_BYTES)
                except BlockingIOError:
                    continue
                waiting.append((time.perf_counter() + self.delay, other_tap[tap], frame))


def run(*words: str) -> None:
    """Run a command, which prints its own error message; raises CalledProcessError if it fails."""
    subprocess.run(words, check=True)


class Network:
    """Two namespaces with the indices 0 and 1; process k runs in namespace k."""

    def __init__(self) -> None:
        self.names = [f"pellucid{os.getpid()}-{k}" for k in range(2)]
        self.devices = [f"pell{os.getpid() % 10_000}x{k}" for k in range(2)]
        self.addresses = ["10.77.0.1", "10.77.0.2"]
        self.wire = Wire((self._tap(0), self._tap(1)))

    def _tap(self, k: int) -> int:
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(
            tap, TUNSETIFF, struct.pack("16sH22x", self.devices[k].encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
        )
        fcntl.ioctl(tap, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6)
        run("ip", "netns", "add", self.names[k])
        run("ip", "link", "set", self.devices[k], "netns", self.names[k])
        device = self.devices[k]
        self.run_inside(k, "ip", "addr", "add", f"{self.addresses[k]}/24", "dev", device)
        self.run_inside(k, "ip", "link", "set", "dev", device, "mtu", str(MTU), "txqueuelen", "10000")
        self.run_inside(k, "ip", "link", "set", "dev", device, "gso_max_size", str(SEGMENT_BYTES), "up")
        self.run_inside(k, "ip", "link", "set", "lo", "up")
        for name, value in TCP_SETTINGS.items():
            self.run_inside(k, "sh", "-c", f"echo {value} > /proc/sys/net/ipv4/{name}")
        windows = ("initcwnd", str(WINDOW_SEGMENTS), "initrwnd", str(WINDOW_SEGMENTS))
        self.run_inside(k, "ip", "route", "replace", "10.77.0.0/24", "dev", device, *windows)
        return tap

    def run_inside(self, k: int, *words: str) -> None:
        """Run a command in namespace k."""
        run(*self.command_prefix(k), *words)

    def command_prefix(self, k: int) -> tuple[str, ...]:
        """Return the words to put before a command that runs in namespace k."""
        return "ip", "netns", "exec", self.names[k]

    def limit(self, rate: float | None, delay: float) -> None:
        """Set the rate of each direction in bits per second (None: no limit) and the one-way delay in seconds."""
        for k, device in enumerate(self.devices):
            bucket = ("pfifo",)
            if rate is not None:
                bucket = ("tbf", "rate", f"{rate:.0f}bit", "burst", str(BURST_BYTES), "limit", "64mb")
            self.run_inside(k, "tc", "qdisc", "replace", "dev", device, "root", *bucket)
        self.wire.delay = delay


@contextmanager
def network() -> Iterator[Network]:
    """Within the context, yield a network; its namespaces are deleted at the end. Raises SystemExit without root."""
    if os.geteuid():
        raise SystemExit("benchmarks.scaling: network namespaces need root; run this part as root")
    namespaces = Network()
    namespaces.wire.start()
    try:
        yield namespaces
    finally:
        namespaces.wire.is_ended = True
        namespaces.wire.join()
        for tap, name in zip(namespaces.wire.taps, namespaces.names, strict=True):
            run("ip", "netns", "del", name)
            os.close(tap)
