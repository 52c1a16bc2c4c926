#!/usr/bin/env python3
"""The disk with a volatile cache: what was flushed stays, what was not is lost sector by sector."""

import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness.volatile_disk import SECTOR, Cache  # noqa: E402

OLD, NEW = b"o" * SECTOR, b"n" * SECTOR


class VolatileCache(unittest.TestCase):
    def setUp(self):
        self.image = tempfile.TemporaryFile()
        self.addCleanup(self.image.close)
        self.image.truncate(64 * SECTOR)
        self.cache = Cache(self.image.fileno(), seed=1)
        self.cache.write(0, OLD * 32)
        self.assertTrue(self.cache.flush())

    def medium(self):
        return [os.pread(self.image.fileno(), SECTOR, n * SECTOR) for n in range(32)]

    def test_what_is_not_flushed_can_be_read_and_is_not_on_the_medium(self):
        self.cache.write(4 * SECTOR, NEW * 2)
        self.assertEqual(self.cache.read(3 * SECTOR, 4 * SECTOR), OLD + NEW * 2 + OLD)
        self.assertEqual(self.medium(), [OLD] * 32)
        self.assertTrue(self.cache.flush())
        self.assertEqual(self.medium(), [OLD] * 4 + [NEW] * 2 + [OLD] * 26)

    def test_a_cut_tears_the_write(self):
        self.cache.write(8 * SECTOR, NEW * 8)
        self.cache.cut()
        kept = self.medium().count(NEW)
        self.assertTrue(0 < kept < 8)
        self.assertEqual((self.cache.kept, self.cache.lost, self.cache.torn), (kept, 8 - kept, 1))
        self.assertEqual(self.cache.read(0, 8 * SECTOR), OLD * 8)

    def test_a_flush_that_the_power_does_not_outlive(self):
        self.cache.flushes_left = 2
        self.assertTrue(self.cache.flush())  # nothing to write: it does not count
        self.cache.write(0, NEW)
        self.assertTrue(self.cache.flush())
        self.cache.write(SECTOR, NEW * 4)
        self.assertFalse(self.cache.flush())
        self.assertTrue(self.cache.is_cut)
        self.assertEqual(self.medium()[0], NEW)
        self.assertTrue(0 < self.medium()[1:5].count(NEW) < 4)


if __name__ == "__main__":
    unittest.main()
