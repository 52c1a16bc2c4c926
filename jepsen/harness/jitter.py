"""A process that does nothing but look how late it is: what the machine does to everybody on it."""

import sys
import time

from .recorder import Recorder


def main():
    recorder = Recorder(sys.argv[1], "jitter")
    while True:
        due = time.monotonic() + 0.01
        time.sleep(0.01)
        late_ms = int((time.monotonic() - due) * 1000)
        if late_ms >= 20:
            recorder.write("late", ms=late_ms)


if __name__ == "__main__":
    main()
