"""Disks that can lose their power: every node's data on an ext4 of its own, in a file, by a loop device."""

import ctypes
import fcntl
import os
import subprocess
import time

from .volatile_disk import VolatileDisk

EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2          # what only the page cache or the journal's memory has is lost
SIZE_MB = 192            # room above the floor of netlockd (disk-free-min)


class Disks:
    def __init__(self, directory):
        self._directory = directory
        self._mounts = {}

    def make(self, number, path):
        """A file system at @path; returns the data directory in it."""
        os.makedirs(self._directory, exist_ok=True)
        image = os.path.join(self._directory, f"n{number}.img")
        with open(image, "wb") as file:
            file.truncate(SIZE_MB << 20)
        self._prepare(number, image)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-E", "nodiscard", image], check=True)
        os.makedirs(path, exist_ok=True)
        self._mounts[number] = (image, path)
        self._mount(number)
        return os.path.join(path, "data")

    def _prepare(self, number, image):
        """Before there is a file system in it."""

    def _mount(self, number):
        image, path = self._mounts[number]
        subprocess.run(["mount", "-o", "loop", image, path], check=True)

    def path(self, number):
        return self._mounts[number][1]

    def cut_power(self, number):
        """From now on nothing reaches the disk, and what had not reached it is gone."""
        fd = os.open(self.path(number), os.O_RDONLY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, ctypes.c_uint32(NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def is_cut(self, number):
        """Whether the file system refuses to write."""
        try:
            with open(os.path.join(self.path(number), "probe"), "wb") as file:
                file.write(b"x")
            return False
        except OSError:
            return True

    def power_on(self, number):
        """After its node has died: the file system as the disk has it, its journal replayed."""
        self._unmount(number)
        self._mount(number)

    def _unmount(self, number):
        """And the loop device is gone: a file system that somebody else still has would come back as it was."""
        image, path = self._mounts[number]
        subprocess.run(["umount", path], check=True)
        end = time.monotonic() + 30
        while subprocess.run(["losetup", "-j", image], check=True, capture_output=True).stdout:
            if time.monotonic() > end:
                raise RuntimeError(f"{path} was unmounted, and somebody still has it")
            time.sleep(0.01)

    def free_bytes(self, number):
        stat = os.statvfs(self.path(number))
        return stat.f_bavail * stat.f_frsize

    def fill(self, number):
        """Until nothing more fits."""
        with open(os.path.join(self.path(number), "fill"), "ab", buffering=0) as file:
            for size in (1 << 24, 1 << 20, 1 << 16, 1 << 12):
                try:
                    while True:
                        os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
                except OSError:
                    continue

    def empty(self, number):
        try:
            os.unlink(os.path.join(self.path(number), "fill"))
        except FileNotFoundError:
            pass

    def close(self):
        for _image, path in self._mounts.values():
            subprocess.run(["umount", path], check=False, capture_output=True)


class VolatileDisks(Disks):
    """The same on disks with a volatile cache, which tears writes when its power is cut."""

    def __init__(self, directory, seed):
        super().__init__(directory)
        self._seed, self._disks = seed, {}

    def _prepare(self, number, image):
        self._disks[number] = VolatileDisk(image, f"{self._seed}/{number}")

    def arm(self, number, flushes):
        """The power goes in the middle of the flush after so many."""
        self._disks[number].arm(flushes)

    def cut_cache(self, number):
        return self._disks[number].cut()

    def look(self, number):
        return self._disks[number].look()

    def power_on(self, number):
        self._unmount(number)
        self._disks[number].power_on()
        self._mount(number)

    def close(self):
        super().close()
        for disk in self._disks.values():
            disk.close()
