#!/usr/bin/env python3
"""The client's own encoder and decoder against the bytes that the protocol's reference prints."""

import os
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import wire  # noqa: E402

ATTACH = bytes.fromhex("000000460a03313233123f0a31747970652e676f6f676c65617069732e636f6d2f676f6e65746c6f636b2e436c69"
                       "656e7441747461636852657175657374120a0a08706c617965722d31")
LOCK = bytes.fromhex("000000450a013112400a29747970652e676f6f676c65617069732e636f6d2f676f6e65746c6f636b2e4c6f636b52"
                     "6571756573741213 0a08706c617965722d31 120161 2001 30b0ea01".replace(" ", ""))
GRANTED = bytes.fromhex("000000470a013112420a31747970652e676f6f676c65617069732e636f6d2f676f6e65746c6f636b2e4c6f636b47"
                        "72616e746564526573706f6e7365120d0a08706c617965722d31120161")


class Wire(unittest.TestCase):
    def test_attach(self):
        self.assertEqual(wire.encode("ClientAttachRequest", "123", {"client_id": "player-1"}), ATTACH)

    def test_lock(self):
        fields = {"client_id": "player-1", "lock_name": "a", "mode": wire.WAIT, "lock_timeout": 30000, "type": 0}
        self.assertEqual(wire.encode("LockRequest", "1", fields), LOCK)

    def test_granted_in_any_pieces(self):
        for size in (1, 3, 70, 1000):
            decoder, found = wire.Decoder(), []
            data = GRANTED + b"\0\0\0\0" + GRANTED
            for at in range(0, len(data), size):
                found += decoder.feed(data[at:at + size])
            self.assertEqual(len(found), 2)
            name, key, fields = found[1]
            self.assertEqual((name, key, fields["client_id"], fields["lock_name"]),
                             ("LockGrantedResponse", "1", "player-1", "a"))

    def test_every_message_comes_back(self):
        for name, known in wire.MESSAGES.items():
            fields = {field: {"n": 7, "s": "x", "b": b"y"}[kind] for field, (_number, kind) in known.items()
                      if kind in "nsb"}
            (back, key, got), = wire.Decoder().feed(wire.encode(name, "k", fields))
            self.assertEqual((back, key), (name, "k"))
            self.assertEqual({f: got[f] for f in fields}, fields)

    def test_refused(self):
        for data in (b"\0\x20\0\0", b"\0\0\0\x02\x0a\x09", b"\0\0\0\x01\x0b"):
            with self.assertRaises(wire.ProtocolError):
                list(wire.Decoder().feed(data + b"\0" * 8))


if __name__ == "__main__":
    unittest.main()
