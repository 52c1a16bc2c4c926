#!/bin/sh
# test_packages.sh [SOURCE_DIRECTORY]: the Debian packages in a system of their own: they install, the server
# starts and serves, an upgrade keeps the locks and the configuration, a removal leaves the data, a purge
# leaves nothing. Skipped (77) without root, debootstrap or a mirror.
set -eu
# Two ports: the system is its own, the network is not.
[ -n "${KEPT_PORT-}" ] || exec "$(dirname "$0")/kept_port.py" 2 "$0" "$@"

source=$(cd "${1:-$(dirname "$0")/..}" && pwd)
work=$(mktemp -d /tmp/netlock-packages-XXXXXX)
root=$work/root
server=

skip() { echo "skip: $*"; exit 77; }
fail() { echo "FAIL: $*"; exit 1; }

cleanup() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    umount "$root/proc" 2>/dev/null || true
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

[ "$(id -u)" -eq 0 ] || skip "not root"
command -v debootstrap >/dev/null || skip "debootstrap is not installed"
command -v cpack >/dev/null || skip "cpack is not installed"
codename=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
[ "$codename" = bookworm ] || skip "the packages are for Debian 12, this is '$codename'"
mirror=$(apt-get indextargets --format '$(SITE) $(CODENAME)' 2>/dev/null |
    sed -n "s/ $codename\$//p" | sort | uniq -c | sort -rn | awk 'NR == 1 {print $2}')
[ -n "$mirror" ] || skip "apt knows no mirror of $codename"

echo "== packages"
nice "$source/package/build" "$work/tree" >"$work/build.log" 2>&1 || {
    tail -30 "$work/build.log"
    fail "the packages could not be made"
}
packages=$work/tree/packages
ls "$packages"

echo "== a Debian of its own, from $mirror"
timeout 1200 debootstrap --variant=minbase --include=adduser,init-system-helpers \
    "$codename" "$root" "$mirror" >"$work/debootstrap.log" 2>&1 || {
    tail -3 "$work/debootstrap.log"
    skip "debootstrap did not succeed"
}
echo "deb $mirror $codename-backports main" >"$root/etc/apt/sources.list.d/backports.list"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
cp /etc/resolv.conf "$root/etc/resolv.conf"
mount -t proc proc "$root/proc"
mkdir "$root/packages"

in_root() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }
timeout 600 chroot "$root" apt-get update >"$work/apt.log" 2>&1 || skip "apt-get update did not succeed"

port=$KEPT_PORT
peer_port=$((KEPT_PORT + 1))
netlock() { in_root netlock --servers "127.0.0.1:$port" --timeout 30s "$@"; }

# As the unit does it.
start() {
    # Not in_root: a function in the background is a shell of its own, and $! that shell.
    chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        setpriv --reuid=netlock --regid=netlock --init-groups netlockd --config /etc/netlock/netlock.conf \
        --listen "127.0.0.1:$port" --peer-listen "127.0.0.1:$peer_port" >"$work/server.log" 2>&1 &
    server=$!
    tries=0
    until grep -q "netlockd ready" "$work/server.log"; do
        kill -0 "$server" 2>/dev/null || { cat "$work/server.log"; fail "netlockd ended"; }
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || fail "netlockd was not ready within a minute"
        sleep 0.1
    done
}
stop() {
    kill "$server"
    wait "$server" || fail "netlockd ended with $?"
    server=
}

# The dependencies come with the first installation; all that counts after it is dpkg.
install_all() {
    rm -f "$root"/packages/*
    cp "$1"/*.deb "$root/packages/"
    in_root sh -c 'apt-get install -y --no-install-recommends -o Dpkg::Options::=--force-confold \
        -t bookworm-backports /packages/*.deb' >>"$work/apt.log" 2>&1 || {
        tail -20 "$work/apt.log"
        fail "$2"
    }
}

echo "== install"
install_all "$packages" "installation"
[ "$(chroot "$root" stat -c '%U %a' /var/lib/netlock)" = "netlock 700" ] || fail "whose is the data directory?"
for page in man1/netlock.1 man8/netlockd.8 man5/netlock.conf.5 man3/libnetlock.3; do
    [ -e "$root/usr/share/man/$page" ] || [ ! -x "$(command -v scdoc)" ] || fail "no page $page"
done
entry=$(chroot "$root" getent passwd netlock) || fail "no account netlock"
case $entry in *:/usr/sbin/nologin) ;; *) fail "somebody can log in as netlock: $entry" ;; esac
[ "$(chroot "$root" stat -c '%U:%G %a' /etc/netlock)" = "root:netlock 750" ] || fail "who reads the configuration?"
unit=$root/lib/systemd/system/netlockd.service
[ -e "$unit" ] || fail "no unit"
[ -L "$root/etc/systemd/system/multi-user.target.wants/netlockd.service" ] || fail "the unit is not enabled"
for doc in $(sed -n 's/^Documentation=//p' "$unit" | tr ' ' '\n' | sed -n 's/^file://p'); do
    [ -e "$root$doc" ] || fail "the unit names $doc, which is not there"
done
for example in alerts.yml grafana.json; do
    [ -e "$root/usr/share/doc/netlock-server/examples/$example" ] || fail "no $example"
done
[ -e "$root/usr/share/bash-completion/completions/netlock" ] || fail "no completion"
chroot "$root" dpkg -s netlock-server | grep -q '^ /etc/netlock/netlock.conf' || fail "the configuration is no conffile"
in_root netlockd --config /etc/netlock/netlock.conf --check >/dev/null || fail "the shipped configuration"
chroot "$root" dpkg -s libnetlock0 | grep -q '^Status: install ok installed' || fail "libnetlock0"
[ "$(chroot "$root" sh -c 'ldconfig -p | grep -c libnetlock.so.0')" -ge 1 ] || fail "ldconfig does not know libnetlock"

echo "== start"
start
netlock acquire --client-id tester --ttl 1h kept >/dev/null || fail "acquire"
stop

echo "== upgrade"
echo "log-level = warning # the operator's" >>"$root/etc/netlock/netlock.conf"
mkdir "$work/newer"
for package in "$packages"/*.deb; do
    dpkg-deb -R "$package" "$work/unpacked"
    # A newer build of the same: also with another shipped configuration.
    sed -i 's/^\(Version: .*\)$/\1+newer/; s/\(libnetlock0 (= [^)]*\))/\1+newer)/' "$work/unpacked/DEBIAN/control"
    if [ -e "$work/unpacked/etc/netlock/netlock.conf" ]; then
        echo "# newer" >>"$work/unpacked/etc/netlock/netlock.conf"
    fi
    dpkg-deb --root-owner-group -b "$work/unpacked" "$work/newer" >/dev/null
    rm -rf "$work/unpacked"
done
install_all "$work/newer" "upgrade"
chroot "$root" dpkg -s netlock-server | grep -q '^Version:.*newer' || fail "it was not upgraded"
grep -q "the operator's" "$root/etc/netlock/netlock.conf" || fail "the upgrade lost the configuration"
[ -e "$root/etc/netlock/netlock.conf.dpkg-dist" ] || fail "the new configuration is not there to look at"
start
netlock status --json kept | grep -q '"client_id": "tester"' || fail "the upgrade lost a lock"
stop

echo "== remove and purge"
in_root apt-get remove -y netlock-server netlock libnetlock0 libnetlock-dev >>"$work/apt.log" 2>&1 || {
    tail -20 "$work/apt.log"
    fail "removal"
}
[ -d "$root/var/lib/netlock/raft" ] || fail "the removal took the data"
[ -e "$root/etc/netlock/netlock.conf" ] || fail "the removal took the configuration"
[ ! -e "$unit" ] || fail "the removal left the unit"
# The other packages have nothing that a removal would leave.
in_root dpkg --purge netlock-server >"$work/purge.log" 2>&1 || {
    cat "$work/purge.log"
    fail "purge"
}
[ ! -e "$root/var/lib/netlock" ] || fail "the purge left the data"
[ ! -e "$root/etc/netlock" ] || fail "the purge left the configuration"
left=$(find "$root/usr" "$root/lib" "$root/etc" -xdev -name '*netlock*' 2>/dev/null || true)
[ -z "$left" ] || fail "left after the purge: $left"
chroot "$root" getent passwd netlock >/dev/null || fail "the account's number is free for others"
echo "ok"
