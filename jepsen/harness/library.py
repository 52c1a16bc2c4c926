"""A logical client through libnetlock, as users have it: the same face as client.Client, for the same workloads.

The library counts leases and refreshes by itself; its user is entitled to a hold from the grant until it is told
LOST. How late this process was when it told so is recorded with it, because a process that did not run
cannot have been told."""

import asyncio
import ctypes
import errno
import os

from . import wire
from .client import Answer
from .recorder import monotonic_ns

MANUAL = 1
FAR = 1 << 62
LOST, CONNECTED, DISCONNECTED, QUEUED = 4, 5, 6, 1
HELD, TIMEOUT, CANCELLED, NOT_HELD, EXPIRED, OTHER, CONFLICT, LIMIT, STALE = range(10001, 10010)
UNREACHABLE = 10013
DENIED = {HELD: "held", CANCELLED: "cancelled", NOT_HELD: "not-held", EXPIRED: "expired",
          CONFLICT: "upgrade-conflict", LIMIT: "limit-mismatch"}
RELEASED = {0: "released", NOT_HELD: "not-held", EXPIRED: "expired", OTHER: "held-by-other"}


class Grant(ctypes.Structure):
    _fields_ = [("token", ctypes.c_uint64), ("slot", ctypes.c_uint32), ("type", ctypes.c_int),
                ("lock_timeout_ms", ctypes.c_uint32), ("index", ctypes.c_uint64)]


class Notice(ctypes.Structure):
    _fields_ = [("event", ctypes.c_int), ("name", ctypes.c_char_p), ("token", ctypes.c_uint64),
                ("position", ctypes.c_uint32), ("server", ctypes.c_char_p)]


ON_NOTICE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(Notice))
ON_DONE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(Grant))


class Credentials(ctypes.Structure):
    _fields_ = [(name, ctypes.c_char_p) for name in ("ca", "cert", "key", "access_token")]


class Options(ctypes.Structure):
    _fields_ = [("servers", ctypes.c_char_p), ("client_id", ctypes.c_char_p), ("secret", ctypes.c_void_p),
                ("connect_timeout_ms", ctypes.c_uint32), ("session_grace_ms", ctypes.c_uint32),
                ("drift_ppm", ctypes.c_uint32), ("flags", ctypes.c_uint), ("application", ctypes.c_char_p),
                ("on_notice", ON_NOTICE), ("arg", ctypes.c_void_p), ("share_id", ctypes.c_bool),
                ("credentials", Credentials), ("error_text", ctypes.c_char_p)]


class LockOptions(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), ("try_only", ctypes.c_bool), ("wait_timeout_ms", ctypes.c_uint32),
                ("lock_timeout_ms", ctypes.c_uint32), ("drop", ctypes.c_int), ("limit", ctypes.c_uint32),
                ("downgrade", ctypes.c_bool), ("owner_info", ctypes.c_char_p)]


def load(build):
    library = ctypes.CDLL(os.path.join(build, "src", "libnetlock.so"))
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    library.netlock_open.argtypes = [ctypes.POINTER(pointer), ctypes.POINTER(Options)]
    library.netlock_fd.argtypes = library.netlock_timeout_ms.argtypes = [pointer]
    library.netlock_process.argtypes = library.netlock_close.argtypes = [pointer]
    library.netlock_close.restype = None
    library.netlock_lock_async.argtypes = [pointer, text, ctypes.POINTER(LockOptions), ON_DONE, pointer]
    library.netlock_unlock_async.argtypes = [pointer, text, ctypes.c_uint64, ON_DONE, pointer]
    library.netlock_refresh_async.argtypes = [pointer, text, ctypes.c_uint32, pointer, ON_DONE, pointer]
    library.netlock_cancel.argtypes = [pointer, text]
    return library


class LibraryClient:
    """Client and session in one: the library makes no difference."""

    def __init__(self, world, name):
        self.recorder, self.id, self.grace_ms = world.recorder, name, world.grace_ms
        self.holds, self.session = {}, self
        self._library, self._handle = world.library, ctypes.c_void_p()
        self._nodes = {f"{host}:{port}": node for node, (host, port) in world.addresses.items()}
        self._waiting = {}   # lock -> number of the operation that waits for it
        self._done = {}      # number -> (future, callback): alive while the library may call it
        self._numbers = 0
        self._timer, self._due = None, FAR
        self._on_notice = ON_NOTICE(self._notice)

    # ---- life

    def start(self):
        options = Options(servers=",".join(self._nodes).encode(), client_id=self.id.encode(),
                          session_grace_ms=self.grace_ms, flags=MANUAL, on_notice=self._on_notice)
        rv = self._library.netlock_open(ctypes.byref(self._handle), ctypes.byref(options))
        if rv != 0:
            raise RuntimeError(f"netlock_open: {rv}")
        asyncio.get_running_loop().add_reader(self._library.netlock_fd(self._handle), self._process)
        self._arm()

    async def close(self):
        asyncio.get_running_loop().remove_reader(self._library.netlock_fd(self._handle))
        if self._timer is not None:
            self._timer.cancel()
        for lock, hold in list(self.holds.items()):
            self.recorder.write("lost", c=self.id, l=lock, tok=hold, r="closed", x=0, late=0)
        self._library.netlock_close(self._handle)

    def _process(self):
        self._late = max(0, monotonic_ns() - self._due)
        rv = self._library.netlock_process(self._handle)
        if rv != 0:
            self.recorder.write("ghost", c=self.id, why=f"netlock_process says {rv}")
        self._arm()

    def _arm(self):
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        timeout = self._library.netlock_timeout_ms(self._handle)
        self._due = FAR
        if timeout >= 0:
            self._due = monotonic_ns() + timeout * 1000000
            self._timer = asyncio.get_running_loop().call_later(timeout / 1000, self._process)

    _late = 0

    def _notice(self, _arg, notice):
        event = notice.contents.event
        if event == LOST:
            lock, token = notice.contents.name.decode(), notice.contents.token
            if self.holds.get(lock) == token:
                del self.holds[lock]
            self.recorder.write("lost", c=self.id, l=lock, tok=token, r="library", x=0, late=self._late)
        elif event == QUEUED:
            number = self._waiting.get(notice.contents.name.decode())
            if number is not None:
                self.recorder.write("library-wait", i=number, n=notice.contents.position)
        elif event == CONNECTED:
            node = self._nodes.get((notice.contents.server or b"").decode(), 0)
            self.recorder.write("up", g=f"lib-{self.id}", n=node, grace=self.grace_ms)
        elif event == DISCONNECTED:
            self.recorder.write("down", g=f"lib-{self.id}", why="library")

    # ---- requests

    def lease_end(self, lock):
        """The library says LOST in time, or the hold is good."""
        return FAR if lock in self.holds else 0

    async def lock(self, lock, typ=wire.WRITE, wait_ms=None, hold_ms=0, drop=wire.RELEASE, limit=0,
                   downgrade=False, patience=30.0):
        how = LockOptions(type=typ, try_only=wait_ms is None, wait_timeout_ms=wait_ms or 0, lock_timeout_ms=hold_ms,
                          drop=drop, limit=limit, downgrade=downgrade)
        return await self._operate("lock" if wait_ms is not None else "try", lock, patience, lambda callback: (
            self._library.netlock_lock_async(self._handle, lock.encode(), ctypes.byref(how), callback, None)),
            typ=typ, w=wait_ms, h=hold_ms, d=drop, lim=limit or 1, down=int(downgrade))

    async def release(self, lock, token=0, patience=30.0):
        token = token or self.holds.get(lock, 0)
        self.holds.pop(lock, None)
        return await self._operate("release", lock, patience, lambda callback: (
            self._library.netlock_unlock_async(self._handle, lock.encode(), token, callback, None)), tok=token)

    async def refresh(self, lock, hold_ms=0, token=0, drop=wire.RELEASE, patience=10.0):
        return await self._operate("refresh", lock, patience, lambda callback: (
            self._library.netlock_refresh_async(self._handle, lock.encode(), hold_ms, None, callback, None)),
            h=hold_ms, tok=token, d=drop)

    async def status(self, _lock, patience=10.0):
        """Only a blocking call of the library could tell."""
        return Answer("not-asked")

    async def _operate(self, op, lock, patience, begin, **told):
        number, future = self.recorder.op_number(), asyncio.get_running_loop().create_future()
        self.recorder.write("call", i=number, op=op, c=self.id, l=lock, lib=1, **told)
        if op == "lock":
            self._waiting[lock] = number

        def finished(_arg, rv, grant):
            answer = self._on_done(number, op, lock, -rv, grant.contents if grant else None)
            if not future.done():
                future.set_result(answer)
        callback = ON_DONE(finished)
        self._done[number] = callback
        rv = begin(callback)
        if rv != 0:
            self._done.pop(number)
            self.recorder.write("fail", i=number, r=f"refused {rv}")
            return Answer("failed")
        self._arm()
        try:
            return await asyncio.wait_for(asyncio.shield(future), patience if op != "lock" else patience * 4)
        except asyncio.TimeoutError:
            self._library.netlock_cancel(self._handle, lock.encode())
            self._arm()
            return await future

    def _on_done(self, number, op, lock, error, grant):
        self._waiting.pop(lock, None)
        asyncio.get_running_loop().call_soon(self._done.pop, number, None)
        line = {"i": number, "s": 0, "x": 0}
        if error == UNREACHABLE or error in (errno.ENOMEM, STALE):
            self.recorder.write("info", i=number, r=f"error {error}")
            return Answer("unknown")
        if op == "release":
            result = RELEASED.get(error, f"error {error}")
            self.recorder.write("ok", **line, r=result, tok=0)
            return Answer(result)
        if error == 0:
            self.holds[lock] = grant.token
            self.recorder.write("ok", **{**line, "x": grant.index}, r="granted", tok=grant.token, slot=grant.slot,
                                typ=grant.type, lease=0, h=grant.lock_timeout_ms, d=0)
            return Answer("granted", grant.token, grant.slot)
        if error == TIMEOUT:
            self.recorder.write("ok", **line, r="wait-timeout")
            return Answer("wait-timeout")
        why = DENIED.get(error, f"error {error}")
        self.recorder.write("ok", **line, r="denied", why=why)
        return Answer("denied", why=why)
