#!/usr/bin/env python3
"""Ports of this machine for what a test lets others listen on.

    kept_port.py COUNT COMMAND...

runs COMMAND with COUNT ports in a row that are kept, as a Port is, until it and its children have ended.
$KEPT_PORT is the first."""

import os
import random
import socket
import sys

HOST = "127.0.0.1"
ROW_TRIES = 1000


class Port:
    """A TCP port that is kept for this process until close(), on every IPv4 address of the machine: the
    kernel gives it to no connection, and to nobody who asks for a port or keeps one as we do. Nobody
    listens on it, so a connect() is refused, until somebody does who says SO_REUSEADDR, as servers do;
    they may come and go. @number: this one; OSError if it is not free."""

    def __init__(self, number=0):
        self.socket = socket.socket()
        try:
            self.socket.bind(("", number))
        except OSError:
            self.socket.close()
            raise
        # So that a server that says it too may be bound to the port beside us. Not before bind(): two of us
        # that said it then could both have one number.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.number = self.socket.getsockname()[1]
        self.address = f"{HOST}:{self.number}"

    def close(self):
        self.socket.close()


def row(count):
    """@count ports in a row."""
    for _ in range(ROW_TRIES):
        first = random.randrange(20000, 30000)
        ports = []
        try:
            for number in range(first, first + count):
                ports.append(Port(number))
            return ports
        except OSError:
            for port in ports:
                port.close()
    raise AssertionError(f"no {count} free ports in a row")


def main():
    ports = row(int(sys.argv[1]))
    for port in ports:
        port.socket.set_inheritable(True)
    os.environ["KEPT_PORT"] = str(ports[0].number)
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
