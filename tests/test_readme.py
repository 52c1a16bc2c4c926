#!/usr/bin/python3
"""What README.md tells a new user to type, carried out as it stands there, in its order; where it sends him to
the ten commands of cluster/SECURITY.md, those.

    tests/test_readme.py BUILD

In namespaces of their own (pages.py), which need a kernel that lets us make them (else 77, skipped). Packages
are installed and everything is built: cluster/up finds nothing to do there."""

import os
import re
import shlex
import sys

import pages

BUILD = os.path.abspath(sys.argv[1])
STEPS = ["Two commands", "Five minutes", "Ten more: certificates, a job that hangs, a node that is lost"]
TEN = ("cluster/SECURITY.md", "A secure cluster in ten commands")
UP = "ip link set lo up\n"

# The source tree, as far as its user needs it, and a home. What fails is written down.
WORLD = UP + f"""
export HOME=$HERE/home PATH=$HERE/bin:$PATH
mkdir -p "$HOME" bin tree/cluster
for nothing in bin/cmake tree/cluster/setup; do printf '#!/bin/sh\\n' >$nothing; chmod 755 $nothing; done
cp {shlex.quote(pages.ROOT)}/cluster/up {shlex.quote(pages.ROOT)}/cluster/local tree/cluster/
ln -s {shlex.quote(BUILD)} tree/build
: >failed
cd tree
unset XDG_STATE_HOME
trap 'echo "$BASH_COMMAND" >>"$HERE/failed"' ERR
"""

# What must be true afterwards.
CHECKS = """
trap - ERR
set -e
refused() {
    if "$@" >out 2>&1; then
        echo "was let in: $*"
        exit 1
    fi
}
test "$(stat -c %a node1.key node4.key ca.key client-ops.key | sort -u)" = 600
test "$(stat -c %a data1 data2 data3 data4 | sort -u)" = 700

# Nobody else gets in: nothing at all, a certificate of another CA.
mkdir other
netlock tls init --dir other prod
netlock tls client --dir other ops
refused env -u NETLOCK_TLS_CA -u NETLOCK_TLS_CERT -u NETLOCK_TLS_KEY netlock --timeout 1s run x -- true
grep -q "wants TLS" out
refused netlock --tls-cert other/client-ops.pem --tls-key other/client-ops.key --timeout 1s run x -- true
"""

SAID = ["netlock: 3 nodes on loopback serve locks", "my turn", "EQUAL: 3 of 3", "node 1 .* killed", "served",
        "EQUAL: 3 of 3", '"cluster":"prod"', "1 hold broken",
        "no member", "EQUAL: 3 of 3"]


def count_of(block):
    """Commands of a block, in which here documents end with END."""
    count, inside = 0, False
    for line in block.splitlines():
        if inside:
            inside = line != "END"
        else:
            count += 1
            inside = line.endswith("<<END")
    return count


def commands():
    ten = pages.blocks(pages.section(*TEN))[0]
    assert count_of(ten) == 10, f"the page has {count_of(ten)} commands"
    link = f"]({TEN[0]}#{TEN[1].lower().replace(' ', '-')})"
    found = []
    for step in STEPS:
        before, *others = pages.section("README.md", step).split(link)
        found += pages.blocks(before)
        for text in others:
            found += [ten] + pages.blocks(text)
    assert ten in found, "the README sends nobody to the ten commands"
    return "".join(found)


def main():
    variables = pages.environment(BUILD)
    why = pages.why_no_world(UP, variables)
    if why is not None:
        print(f"skipped: no namespaces of our own: {why}")
        return 77
    typed = commands()
    tell = 'echo "failed: $(paste -sd "|" "$HERE/failed")"\n'
    well, text = pages.carry_out("README.md", WORLD + typed + "\n" + tell + CHECKS, variables, shell="bash")
    if not well:
        return 1
    failed = text.split("\nfailed: ")[1].split("\n")[0]
    assert failed in ("", "netlock run -n job -- echo mine"), f"these failed: {failed}"
    at = 0
    for what in SAID:
        match = re.compile(what).search(text, at)
        assert match, f"{what!r} was not said, or not in its turn:\n{text}"
        at = match.end()
    assert "\nmy turn at last\n" in text, text
    return 0


if __name__ == "__main__":
    sys.exit(main())
