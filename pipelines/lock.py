"""One driver for one output: the lock, its holder's name, and when a dead holder's lock may be taken over."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from fastseg.data.places import answered, is_local
from fastseg.data.shards import put_whole
from pipelines.ledger import RefusedError
from pipelines.retry import persistently

LOCK = ".lock"
BEAT_S = 10.0  # between signs of life in a store's lock
STALE_S = 60.0  # without one, its holder is dead
SETTLE_S = 1.0  # after taking a lock without a conditional write, for another taker to show


@contextmanager
def locked(out: Path) -> Iterator[Callable[[], None]]:
    """Hold OUT/.lock in the block; RefusedError names the driver that holds it. A dead driver's lock is taken over.

    Gives a function that raises RefusedError once the lock was lost to another driver.
    """
    with _held_by_kernel(out / LOCK) if is_local(out) else _held_by_heartbeat(out / LOCK) as still_held:
        yield still_held


@contextmanager
def _held_by_kernel(path: Path) -> Iterator[Callable[[], None]]:
    """A local lock: the kernel drops it with its process, so a stale one on this machine is never in doubt.

    On another machine (a shared file system that may not carry locks) the host written inside decides, and only a
    person may remove it.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 4096).decode(errors="replace")
            os.close(handle)
            raise _at_work(path, holder.strip()) from None
        if path.exists() and os.fstat(handle).st_ino == path.stat().st_ino:
            break
        os.close(handle)  # its holder removed the file between our open and our lock
    try:
        _write_holder(path, handle)
        try:
            yield lambda: None
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _at_work(path: Path, holder: str) -> RefusedError:
    return RefusedError(f"another driver is at work on {path.parent} ({holder}); wait for it to end")


def _write_holder(path: Path, handle: int) -> None:
    text = os.read(handle, 4096).decode(errors="replace")
    host = platform.node()
    if text.strip() and f"host {host}," not in text:
        raise RefusedError(f"{path} was left by another machine ({text.strip()}); remove it if that driver is dead")
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"pid {os.getpid()}, host {host}, boot {_boot()}\n".encode(), 0)


def _boot() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text().strip() if boot.exists() else "unknown"


@dataclass(frozen=True)
class Holder:
    """What a store's lock says of the driver that holds it; `beat` is its clock's last sign of life."""

    pid: int
    host: str
    boot: str
    token: str
    beat: float

    def __str__(self) -> str:
        return f"pid {self.pid}, host {self.host}, boot {self.boot}"

    def dead(self) -> bool:
        """Whether its process is gone (on this machine, since this boot), or it has shown no life for long."""
        if self.host == platform.node() and self.boot == _boot():
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return True
            except PermissionError:
                pass  # another user's process: alive
        return time.time() - self.beat > STALE_S


def _me() -> Holder:
    return Holder(os.getpid(), platform.node(), _boot(), uuid.uuid4().hex, time.time())


@contextmanager
def _held_by_heartbeat(path: Path) -> Iterator[Callable[[], None]]:
    """A store's lock: an object made only where none is, refreshed by a thread as long as the driver lives."""
    me = _me()
    _take(path, me)
    lost: list[Holder | None] = []
    end = threading.Event()
    beating = threading.Thread(target=_beat, args=(path, me, end, lost), daemon=True)
    beating.start()

    def still_held() -> None:
        if lost:
            raise _at_work(path, f"{lost[0]}, which took over this one's lock" if lost[0] else "it removed the lock")

    try:
        yield still_held
    finally:
        end.set()
        beating.join()
        if not lost:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _take(path: Path, me: Holder) -> None:
    """Make the lock, or take over a dead driver's; RefusedError when a living one has it."""
    for _ in range(3):
        before = _read(path)
        if before is not None:
            if not before.dead():
                raise _at_work(path, str(before))
            path.unlink(missing_ok=True)
        if _create(path, me):
            return
    raise _at_work(path, "unknown")


def _read(path: Path) -> Holder | None:
    try:
        with answered(path):
            content = persistently(path.read_bytes, str(path))
        return Holder(**json.loads(content))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise RefusedError(f"{path} is no lock of this program ({error}); remove it if no driver is at work") from error


def _create(path: Path, me: Holder) -> bool:
    """Whether the lock is ours: made where there was none, by a conditional write where the store has one."""
    store = cast(Any, path)
    content = json.dumps(asdict(me)).encode()
    with answered(path):
        try:
            store.fs.pipe_file(store.path, content, mode="create")
        except FileExistsError:
            return False
        except (TypeError, ValueError, NotImplementedError):
            # No conditional writes here: of two takers the last has it, and the first sees so after a moment.
            store.fs.pipe_file(store.path, content)
            time.sleep(SETTLE_S)
    found = _read(path)
    return found is not None and found.token == me.token


def _beat(path: Path, me: Holder, end: threading.Event, lost: list[Holder | None]) -> None:
    while not end.wait(BEAT_S):
        try:
            found = _read(path)
            if found is None or found.token != me.token:
                lost.append(found)
                return
            put_whole(path, json.dumps(asdict(replace(me, beat=time.time()))).encode())
        except (OSError, RefusedError):
            continue  # the next beat may come through; without one the lock turns stale, which is right
