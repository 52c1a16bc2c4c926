#!/usr/bin/env python3
"""The structs of libnetlock as the harness has them are as large as the compiler says, field by field."""

import ctypes
import os
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from harness import library  # noqa: E402

STRUCTS = {"netlock_options": library.Options, "netlock_lock_options": library.LockOptions,
           "netlock_grant": library.Grant, "netlock_notice": library.Notice}


class Layout(unittest.TestCase):
    def test_structs(self):
        lines = [f'printf("%zu\\n", sizeof(struct {name}));' for name in STRUCTS]
        lines += [f'printf("%zu\\n", offsetof(struct {name}, {field[0]}));'
                  for name, struct in STRUCTS.items() for field in struct._fields_]
        expected = [ctypes.sizeof(struct) for struct in STRUCTS.values()]
        expected += [getattr(struct, field[0]).offset for struct in STRUCTS.values() for field in struct._fields_]
        with tempfile.TemporaryDirectory() as directory:
            source, program = os.path.join(directory, "sizes.c"), os.path.join(directory, "sizes")
            with open(source, "w", encoding="ascii") as file:
                file.write('#include <stddef.h>\n#include <stdio.h>\n#include "netlock.h"\n'
                           "int main(void) { " + " ".join(lines) + " }\n")
            subprocess.run(["cc", "-I", os.path.join(os.path.dirname(HERE), "src"), source, "-o", program], check=True)
            said = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
        self.assertEqual([int(number) for number in said], expected)


if __name__ == "__main__":
    unittest.main()
