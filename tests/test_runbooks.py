#!/usr/bin/env python3
"""The runbooks of cluster/README.md, carried out as they stand on that page.

    tests/test_runbooks.py BUILD [PART_OF_A_NAME]

Three nodes on this machine, each with an /etc/netlock and a /var/lib/netlock of its own, in namespaces (pages.py),
which need a kernel that lets us make them (else 77, skipped). `ssh nodeN` enters those of a node; systemctl,
apt-get and the like are the few lines below."""

import os
import sys
import tempfile

import pages

BUILD = os.path.abspath(sys.argv[1])

# A world of our own: /etc and /var/lib can be written to, and nobody else sees it.
WORLD = """
ip link set lo up
mount -t tmpfs world "$WORLD"
for path in etc var/lib; do
    mkdir -p "$WORLD/over/$path" "$WORLD/work/$path"
    mount -t overlay over -o "lowerdir=/$path,upperdir=$WORLD/over/$path,workdir=$WORLD/work/$path" "/$path"
done
"""

STAND_INS = {
    "ssh": """#!/bin/sh
# In the mounts of a node. Without options, a command line is what is left, as with ssh.
export HOST=$1; shift
exec unshare --mount sh -c 'mount --bind "$WORLD/$HOST/etc" /etc/netlock &&
    mount --bind "$WORLD/$HOST/lib" /var/lib/netlock && cd / && PATH=$WORLD/$HOST/bin:$PATH && eval "$*"' sh "$@"
""",
    "scp": """#!/bin/sh
host=${2%%:*} path=${2#*:}
case $path in
/etc/netlock/*) cp -p "$1" "$WORLD/$host/etc/${path#/etc/netlock/}" ;;
*) cp -p "$1" "$path" ;;
esac
""",
    "systemctl": """#!/bin/sh
# start, stop, restart, reload of netlockd on $HOST, with the unit's settings as far as they matter here.
home=$WORLD/$HOST
running() { [ -e "$home/pid" ] && kill -0 "$(cat "$home/pid")" 2>/dev/null; }
stop() {
    running || return 0
    kill "$(cat "$home/pid")"
    for _ in $(seq 1 600); do running || return 0; sleep 0.1; done
    exit 1
}
start() {
    : >"$home/ready"
    setsid netlockd --config /etc/netlock/netlock.conf --ready-file "$home/ready" >>"$home/log" 2>&1 </dev/null &
    echo $! >"$home/pid"
    for _ in $(seq 1 600); do
        [ ! -s "$home/ready" ] || return 0
        running || exit 1
        sleep 0.1
    done
    exit 1
}
case $1 in
start) start ;;
stop) stop ;;
restart) stop; start ;;
reload) kill -HUP "$(cat "$home/pid")" ;;
esac
""",
    "apt-get": """#!/bin/sh
# install netlock-server: the next version is there, and is started.
set -e
cp "$NEXT" "$WORLD/$HOST/bin/netlockd.new"
mv "$WORLD/$HOST/bin/netlockd.new" "$WORLD/$HOST/bin/netlockd"
systemctl restart netlockd
""",
    "journalctl": """#!/bin/sh
tail -n 5 "$WORLD/$HOST/log"
""",
    "runuser": """#!/bin/sh
# -u netlock -- COMMAND: there is nobody but us here.
shift 3
exec "$@"
""",
    "chown": """#!/bin/sh
[ -e "$2" ]
""",
}

CLUSTER = """
export PATH=$WORLD/bin:$PATH
mkdir -p /etc/netlock /var/lib/netlock ca
netlock tls init --dir ca prod
netlock tls client --dir ca ops
for n in 1 2 3; do
    echo "127.0.0.$n node$n" >>/etc/hosts
    home=$WORLD/node$n
    mkdir -p "$home/etc" "$home/lib" "$home/bin"
    mount -t tmpfs -o size=128m disk "$home/lib"
    chmod 700 "$home/lib"
    cp "$OLD" "$home/bin/netlockd"
    netlock tls node --dir ca $n node$n
    cp ca/ca.pem "$home/etc/ca.pem"
    cp ca/node$n.pem "$home/etc/node.pem"
    cp ca/node$n.key "$home/etc/node.key"
    cat >"$home/etc/netlock.conf" <<END
node-id = $n
cluster = prod
data-dir = /var/lib/netlock
listen = node$n:7670
peer-listen = node$n:7671
tls-ca = /etc/netlock/ca.pem
tls-cert = /etc/netlock/node.pem
tls-key = /etc/netlock/node.key
member = 1 node1:7671 node1:7670
member = 2 node2:7671 node2:7670
member = 3 node3:7671 node3:7670
END
done
export NETLOCK_SERVERS=node1:7670,node2:7670,node3:7670
export NETLOCK_TLS_CA=ca/ca.pem NETLOCK_TLS_CERT=ca/client-ops.pem NETLOCK_TLS_KEY=ca/client-ops.key
for n in 1 2 3; do ssh node$n systemctl start netlockd; done
netlock acquire --client-id keeper --ttl 1h kept >kept
token_of() { netlock status --json "$1" | sed -n 's/.*"token": \\([0-9]*\\),/\\1/p' | head -1; }
kept=$(token_of kept)
test -n "$kept"
within_a_minute() {
    for _ in $(seq 1 600); do if "$@"; then return; fi; sleep 0.1; done
    echo "not within a minute: $*"; exit 1
}
"""

# What makes the runbook necessary, and what must be true after it.
BEFORE = {
    "Upgrade": """
level() { netlock cluster status | sed -n 's/.*feature level //p'; }
level=$(level)
""",
    "Disk full": """
ssh node2 systemctl stop netlockd
rm -f "$WORLD"/node2/lib/raft/open-*
head -c 1G /dev/zero >"$WORLD/node2/lib/core.4711" 2>/dev/null || true
if ssh node2 systemctl start netlockd; then echo "it started without space"; exit 1; fi
grep -q "no space for the log" "$WORLD/node2/log"
""",
    "Restore": """
netlock backup last.backup
netlock acquire --client-id keeper --ttl 1h later >later
for n in 1 2; do ssh node$n systemctl stop netlockd; ssh node$n rm -rf /var/lib/netlock/raft; done
""",
    "New certificates": """
end() { openssl s_client -connect node1:7670 </dev/null 2>/dev/null | openssl x509 -noout -serial; }
before=$(end)
netlock run -w 1h held -- sleep 1h & held=$!
""",
}
AFTER = {
    "Upgrade": """
risen() { test "$(level)" -gt "$level"; }
within_a_minute risen
test "$(token_of kept)" = "$kept"
""",
    "New certificates": """
test -n "$before"
test "$(end)" != "$before"
kill -0 $held
if grep -q -e reload-refused -e "hold.*lost" "$WORLD"/node?/log; then exit 1; fi
test "$(token_of kept)" = "$kept"
""",
    "Disk full": """
test "$(token_of kept)" = "$kept"
""",
    "Restore": """
test "$(token_of kept)" = "$kept"
test -z "$(token_of later)"
netlock acquire --client-id keeper --ttl 1h later >later
test "$(token_of later)" -gt 1000000000000000
netlock cluster status | grep -q 'cluster prod2'
""",
}


def runbooks():
    """Name to block, in the order of the page."""
    text = pages.section("cluster/README.md", "Runbooks")
    return {part.split("\n")[0]: pages.blocks(part)[0] for part in text.split("\n### ")[1:]}


def carry_out(name, block, variables):
    script = "set -eu\n" + WORLD + 'mkdir "$WORLD/bin"\n'
    for command, text in STAND_INS.items():
        script += f"cat >\"$WORLD/bin/{command}\" <<'STAND_IN'\n{text}STAND_IN\n"
    script += 'chmod 755 "$WORLD"/bin/*\n' + CLUSTER + BEFORE.get(name, "") + "\nset -x\n" + block
    well, _ = pages.carry_out(name, script + "\nset +x\n" + AFTER[name], variables)
    return well


def main():
    only = sys.argv[2] if len(sys.argv) > 2 else ""
    # A tmpfs hides what is below: everybody can use the same place.
    with tempfile.TemporaryDirectory(prefix="netlock-world-") as world:
        variables = pages.environment(BUILD, WORLD=world, OLD=os.path.join(BUILD, "src", "netlockd"),
                                      NEXT=os.path.join(BUILD, "tests", "netlockd_next"))
        why = pages.why_no_world(WORLD, variables)
        if why is not None:
            print(f"skipped: no namespaces of our own: {why}")
            return 77
        books = runbooks()
        missing = set(books) ^ set(AFTER)
        assert not missing, f"a runbook without a test, or the other way round: {missing}"
        results = [carry_out(name, block, variables) for name, block in books.items() if only in name]
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
