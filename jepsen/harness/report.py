"""The folder of a run, for people."""

import os


def write(verdict):
    with open(os.path.join(verdict.directory, "verdict.txt"), "w", encoding="utf-8") as file:
        file.write(verdict.text())
