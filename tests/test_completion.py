#!/usr/bin/env python3
"""What shells offer for netlock is what its own tables say, and so do the manuals in its --help.

    tests/test_completion.py BUILD_DIRECTORY

zsh and fish are tried where they are installed."""

import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPTS = os.path.join(ROOT, "src", "completion")
BUILD = None


def output(*command):
    environment = {**os.environ, "PATH": os.path.join(BUILD, "src") + ":" + os.environ["PATH"]}
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    return run.stdout


def netlock(*words):
    return output("netlock", *words)


def commands():
    return [line.split("\t")[0] for line in netlock("complete").splitlines()]


def options(command):
    return netlock("complete", *(command.split() or ["-"])).split()


def options_of_help(text):
    """Of the lines that begin with an option."""
    lines = re.findall(r"^ +-.*$", text, re.M)
    return set(re.findall(r"(?<![\w-])(--?[a-zA-Z][a-z-]*)", " ".join(re.split(r"\s{2,}", line.strip())[0]
                                                                   for line in lines)))


# ---- the shells: what is offered for the last of @words

def bash(*words):
    script = os.path.join(SCRIPTS, "netlock.bash")
    return output("bash", "-c", 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1));'
                  'compopt() { :; }; _netlock; printf "%s\\n" "${COMPREPLY[@]}"', "-", script, *words).split()


def zsh(*words):
    script = os.path.join(SCRIPTS, "_netlock")
    return output("zsh", "-fc", 'compadd() { shift; print -l -- $@ }; _files() { :; };'
                  '_describe() { local name=$2; print -l -- ${${(P)name}%%:*} };'
                  'file=$1; shift; words=("$@"); CURRENT=$#; set --; source $file', "-", script, *words).split()


def fish(*words):
    line = " ".join(words)
    found = output("fish", "--no-config", "-c", f"source {SCRIPTS}/netlock.fish; complete -C '{line}'")
    return [offer.split("\t")[0] for offer in found.splitlines()]


def check_shell(shell):
    first_words = sorted({command.split()[0] for command in commands()})
    assert [w for w in sorted(set(shell("netlock", ""))) if w in first_words] == first_words, shell("netlock", "")
    assert "status" in shell("netlock", "cluster", ""), shell("netlock", "cluster", "")
    for command in commands():
        got = {o for o in shell("netlock", *command.split(), "--") if o.startswith("--")}
        wanted = {o.rstrip("=") for o in options(command) if o.startswith("--")}
        assert got == wanted, (shell.__name__, command, got ^ wanted)
    # The value of an option is not taken for a command.
    assert "--ttl" in shell("netlock", "--servers", "status", "run", "--")
    assert "--ttl" not in shell("netlock", "--servers", "run", "status", "--")
    assert "--servers" in shell("netlock", "--")


def check_help():
    everywhere = {o.rstrip("=") for o in options("")}
    assert options_of_help(netlock("--help")) == everywhere, options_of_help(netlock("--help")) ^ everywhere
    for command in commands():
        accepted = {o.rstrip("=") for o in options(command)} - everywhere
        explained = options_of_help(netlock(*command.split(), "--help"))
        assert explained == accepted, (command, explained ^ accepted)


def main():
    global BUILD  # pylint: disable=global-statement
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    BUILD = os.path.abspath(sys.argv[1])
    assert len(commands()) > 5
    check_help()
    for shell in (bash, zsh, fish):
        if shutil.which(shell.__name__):
            check_shell(shell)
            print("ok  ", shell.__name__)
        else:
            print("skip", shell.__name__, "is not installed")


if __name__ == "__main__":
    main()
