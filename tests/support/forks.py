"""Processes that are forked from the tests, which have imported PyTorch already: each costs
milliseconds, not seconds. Faults come from outside: signals, and system calls that strace spoils.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch


def fork(work: Callable[[], int | None], output: Path, *, stopped: bool = False) -> int:
    """Runs `work` in a child; its exit code is what it returns. Returns the child's number."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the child uses none
        pid = os.fork()
    if pid:
        if stopped:
            os.waitpid(pid, os.WUNTRACED)
        return pid
    code = 99
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)
        torch.set_num_threads(1)  # the parent's threads are not here
        if stopped:
            os.kill(os.getpid(), signal.SIGSTOP)
        code = work() or 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def join(pids: Sequence[int], seconds: float = 60) -> list[int]:
    """Waits for children; exit codes, or minus the number of the signal that ended one."""
    codes: dict[int, int] = {}
    until = time.monotonic() + seconds
    while len(codes) < len(pids):
        for pid in [pid for pid in pids if pid not in codes]:
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                codes[pid] = os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return [codes[pid] for pid in pids]


def fork_ranks(count: int, work: Callable[[], int | None], output: Path) -> list[int]:
    """Starts the processes of one run, as a launcher does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def one(rank: int) -> int | None:
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        os.environ |= {name: str(value) for name, value in place.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ["ACCELERATE_USE_CPU"] = "true"
        return work()

    return [fork(lambda rank=rank: one(rank), output) for rank in range(count)]


def spoiled(work: Callable[[], int | None], output: Path, *rules: str) -> int:
    """Runs `work` in a child under strace's injections, as `write:error=ENOSPC:when=2`."""
    pid = fork(work, output, stopped=True)
    orders = [part for rule in rules for part in ("-e", f"inject={rule}")]
    calls = ",".join(dict.fromkeys(rule.partition(":")[0] for rule in rules))
    tracer = subprocess.Popen(
        ["strace", "-f", "-p", str(pid), "-o", f"{output}.strace", "-e", f"trace={calls}", *orders],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tracer.stderr is not None
    assert "attached" in tracer.stderr.readline()
    os.kill(pid, signal.SIGCONT)
    (code,) = join([pid])
    tracer.wait()
    tracer.stderr.close()
    return code
