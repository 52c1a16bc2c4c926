"""A disk whose cache is volatile, as real ones are: what was written since the last flush is lost or kept sector by
sector when the power is cut, so that writes are torn. A file that is mounted over its own image (FUSE, spoken here
without a library); ext4 lives on a loop device over it.

    disk = VolatileDisk("/path/n1.img", seed=7)
    disk.arm(20)          # the power goes at the 20th flush from now that has something to write; or disk.cut()
    disk.power_on()

Layouts are those of linux/fuse.h, version 7.31."""

import ctypes
import errno
import json
import os
import random
import selectors
import socket
import stat
import struct

SECTOR = 512
MS_NOSUID, MS_NODEV = 2, 4
MAX_WRITE = 1 << 17
FORGET, GETATTR, OPEN, READ, WRITE, STATFS, RELEASE = 2, 3, 14, 15, 16, 17, 18
FSYNC, FLUSH, INIT, ACCESS, INTERRUPT, DESTROY, BATCH_FORGET = 20, 25, 26, 34, 36, 38, 42
BIG_WRITES, MAX_PAGES = 1 << 5, 1 << 22
DIRECT_IO = 1   # of an open file: the kernel keeps no copy, which would outlive what the medium has lost
_IN = struct.Struct("<IIQQIIII")
_OUT = struct.Struct("<IiQ")
_READ = struct.Struct("<QQII")      # handle, offset, size, flags; the same of a write
_ATTR = struct.Struct("<6Q10I")
_INIT = struct.Struct("<IIIIHHIIHHII24x")


class Cache:
    """What the medium has, and above it the sectors that were written since the last flush."""

    def __init__(self, image, seed):
        self._image, self._random = image, random.Random(seed)
        self._sectors = {}    # sector -> (bytes, number of the write that it belongs to)
        self._writes = 0
        self.flushes_left = 0
        self.is_cut = False
        self.lost = self.kept = self.torn = 0

    def read(self, offset, size):
        data = bytearray(os.pread(self._image, size, offset))
        for sector in range(offset // SECTOR, -(-(offset + len(data)) // SECTOR)):
            if sector in self._sectors:
                at = sector * SECTOR - offset
                data[at:at + SECTOR] = self._sectors[sector][0]
        return bytes(data)

    def write(self, offset, data):
        """The block layer writes whole sectors."""
        self._writes += 1
        for at in range(0, len(data), SECTOR):
            self._sectors[(offset + at) // SECTOR] = (data[at:at + SECTOR], self._writes)

    def flush(self):
        """Returns whether all of it is on the medium."""
        if self.flushes_left and self._sectors:
            self.flushes_left -= 1
            if not self.flushes_left:
                self.cut()
                return False
        self._put(self._sectors)
        return True

    def cut(self):
        """Every sector of the cache has reached the medium, or has not; of two or more there is one of each."""
        order = self._random.sample(sorted(self._sectors), len(self._sectors))
        kept = {s: self._sectors[s] for n, s in enumerate(order) if n == 0 or n > 1 and self._random.random() < 0.5}
        lost = {write for s, (_data, write) in self._sectors.items() if s not in kept}
        self.kept, self.lost = len(kept), len(self._sectors) - len(kept)
        self.torn = len(lost & {write for _data, write in kept.values()})
        self._put(kept)
        self.is_cut, self.flushes_left = True, 0

    def _put(self, sectors):
        for sector, (data, _write) in sectors.items():
            os.pwrite(self._image, data, sector * SECTOR)
        self._sectors = {}


class _Server:
    """The file system's side of /dev/fuse, and our orders."""

    def __init__(self, fuse, image, control, seed):
        self._fuse, self._control = fuse, control
        self._size = os.fstat(image).st_size
        self._cache = Cache(image, seed)
        self._handlers = {INIT: self._init, GETATTR: self._getattr, OPEN: self._open, READ: self._read,
                          WRITE: self._write, FSYNC: self._fsync, STATFS: self._statfs,
                          FLUSH: self._nothing, RELEASE: self._nothing, ACCESS: self._nothing}

    def run(self):
        selector = selectors.DefaultSelector()
        selector.register(self._fuse, selectors.EVENT_READ, self._on_request)
        selector.register(self._control, selectors.EVENT_READ, self._on_order)
        while all(key.data() for key, _mask in selector.select()):
            pass

    def _on_order(self):
        order = self._control.recv(4096)
        if not order:
            return True  # the run has ended; the file is still mounted
        cache, words = self._cache, order.decode().split()
        if words[0] == "arm":
            cache.flushes_left = int(words[1])
        elif words[0] == "cut" and not cache.is_cut:
            cache.cut()
        elif words[0] == "on":
            cache.is_cut = False
        self._control.sendall(json.dumps({"is_cut": cache.is_cut, "lost": cache.lost, "kept": cache.kept,
                                          "torn": cache.torn}).encode())
        return True

    def _on_request(self):
        """Returns whether the file is still mounted."""
        try:
            request = os.read(self._fuse, MAX_WRITE + 4096)
        except OSError as error:
            return error.errno != errno.ENODEV
        _length, opcode, unique, *_rest = _IN.unpack_from(request)
        if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
            return True
        handler = self._handlers.get(opcode)
        code, answer = (errno.ENOSYS, b"") if handler is None else handler(request[_IN.size:])
        try:
            os.write(self._fuse, _OUT.pack(_OUT.size + len(answer), -code, unique) + answer)
        except OSError as error:
            return error.errno != errno.ENODEV
        return opcode != DESTROY

    def _init(self, _body):
        return 0, _INIT.pack(7, 31, MAX_WRITE, BIG_WRITES | MAX_PAGES, 12, 10, MAX_WRITE, 1, MAX_WRITE // 4096, 0, 0, 0)

    def _getattr(self, _body):
        attr = _ATTR.pack(1, self._size, self._size // SECTOR, 0, 0, 0, 0, 0, 0, stat.S_IFREG | 0o600, 1, 0, 0, 0,
                          4096, 0)
        return 0, struct.pack("<QII", 3600, 0, 0) + attr

    def _open(self, _body):
        return 0, struct.pack("<QII", 0, DIRECT_IO, 0)

    def _statfs(self, _body):
        return 0, struct.pack("<5Q4I24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0)

    def _nothing(self, _body):
        return 0, b""

    def _read(self, body):
        _handle, offset, size, _flags = _READ.unpack_from(body)
        return (errno.EIO, b"") if self._cache.is_cut else (0, self._cache.read(offset, size))

    def _write(self, body):
        _handle, offset, size, _flags = _READ.unpack_from(body)
        if self._cache.is_cut:
            return errno.EIO, b""
        self._cache.write(offset, body[40:40 + size])
        return 0, struct.pack("<II", size, 0)

    def _fsync(self, _body):
        return (0, b"") if not self._cache.is_cut and self._cache.flush() else (errno.EIO, b"")


def _mount(path):
    """A descriptor of /dev/fuse whose file system is the one file @path."""
    libc = ctypes.CDLL(None, use_errno=True)
    fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fuse},rootmode={stat.S_IFREG:o},user_id=0,group_id=0,allow_other"
    if libc.mount(b"volatile", path.encode(), b"fuse", MS_NOSUID | MS_NODEV, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), f"cannot mount a FUSE file on {path}")
    return fuse


class VolatileDisk:
    """The controlling side. The disk is a process of its own."""

    def __init__(self, path, seed):
        self._path = path
        self._control, theirs = socket.socketpair()
        image = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        fuse = _mount(path)
        self._pid = os.fork()
        if self._pid == 0:
            self._control.close()
            try:
                _Server(fuse, image, theirs, seed).run()
            finally:
                os._exit(0)
        for fd in (fuse, image):
            os.close(fd)
        theirs.close()

    def _order(self, words):
        self._control.sendall(words.encode())
        return json.loads(self._control.recv(4096))

    def arm(self, flushes):
        return self._order(f"arm {flushes}")

    def cut(self):
        """{"lost", "kept": sectors; "torn": writes of which some sectors were lost and others not}"""
        return self._order("cut")

    def look(self):
        return self._order("look")

    def power_on(self):
        return self._order("on")

    def close(self):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.umount2(self._path.encode(), 2)  # MNT_DETACH: the disk ends when nobody has it open
        self._control.close()
        os.waitpid(self._pid, 0)
