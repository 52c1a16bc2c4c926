#!/usr/bin/python3
"""The HTTP port of real nodes: formats, roles, who may see what, names that strangers chose.

    tests/test_http.py BUILD [PART-OF-A-NAME]"""

import hashlib
import http.client
import json
import os
import re
import select
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import urllib.parse

from kept_port import HOST, Port
from plain_client import PlainClient, UNLIMITED, WAIT
from procs import Cluster, Suite, wait_until

BUILD = sys.argv[1]
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
test = Suite()
WAIT_S = 60
CALM = {"leader-lease": "3s"}  # no election because a machine is busy


class Watched(Cluster):
    """A cluster whose nodes have an HTTP port each."""

    def __init__(self, nodes=1, tls=False, **options):
        super().__init__(nodes=nodes, build=BUILD, tls=tls)
        self.tls = tls
        self.ports = {n: Port() for n in range(1, nodes + 1)}
        for number, port in self.ports.items():
            self.configure(number, **{"http-listen": port.address}, **options)

    def close(self, keep=False):
        super().close(keep)
        for port in self.ports.values():
            port.close()

    def configure(self, number, **keys):
        with open(self.config(number), "a", encoding="utf-8") as file:
            file.writelines(f"{key} = {value}\n" for key, value in keys.items())

    def connect(self, number=1):
        host, port = self.ports[number].address.split(":")
        if not self.tls:
            return http.client.HTTPConnection(host, int(port), timeout=WAIT_S)
        context = ssl.create_default_context(cafile=self.file("ca.pem"))
        return http.client.HTTPSConnection(host, int(port), timeout=WAIT_S, context=context)

    def get(self, path, number=1, method="GET", token=None, **headers):
        """Status, headers and text."""
        connection = self.connect(number)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, answer.headers, text

    def status_of(self, path, number=1, **how):
        return self.get(path, number, **how)[0]

    def json(self, path, number=1, **how):
        status, headers, text = self.get(path, number, **how)
        assert status == 200, (path, status, text)
        assert headers["Content-Type"] == "application/json", headers
        return json.loads(text)

    def plain(self):
        host, port = self.address(self.leader()).split(":")
        return PlainClient(host, int(port), timeout=WAIT_S)


def samples(text):
    """Name and labels to value, after a look at every line of the format."""
    types, found = {}, {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            assert re.fullmatch(r"# HELP [a-z_:]+ \S.*", line), line
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert kind in ("gauge", "counter", "histogram") and name not in types, line
            assert (kind == "counter") == name.endswith("_total"), line
            types[name] = kind
        else:
            match = re.fullmatch(r'([a-z_]+)(\{[a-z_]+="[^"\n]*"(,[a-z_]+="[^"\n]*")*\})? '
                                 r"([0-9]+(?:\.[0-9]+)?)", line)
            assert match, line
            name = match.group(1)
            family = name if name in types else re.sub("_(bucket|sum|count)$", "", name)
            assert family in types, line
            assert (name == family) == (types[family] != "histogram"), line
            assert (name, match.group(2)) not in found, line
            found[name, match.group(2)] = float(match.group(4))
    return types, found


@test
def metrics_are_what_prometheus_reads():
    with Watched() as cluster:
        cluster.start()
        with cluster.plain() as client:
            client.attach("a")
            assert client.lock("L", client_id="a").name == "LockGrantedResponse"
            status, headers, text = cluster.get("/metrics")
        assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
        types, found = samples(text)
        assert found["netlock_locks", None] == 1 and found["netlock_serving", None] == 1
        assert found["netlock_requests_total", '{type="lock"}'] == 1
        assert found["netlock_grants_total", None] == 1
        name = "netlock_commit_duration_seconds"
        buckets = [v for (n, _), v in found.items() if n == name + "_bucket"]
        assert buckets == sorted(buckets) and buckets[-1] == found[name + "_count", None] >= 2
        with open(os.path.join(ROOT, "cluster", "README.md"), encoding="utf-8") as readme:
            documented = readme.read()
        assert not [name for name in types if f"`{name}`" not in documented], "cluster/README.md"
        if shutil.which("promtool"):
            run = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, timeout=WAIT_S,
                                 capture_output=True, check=False)
            assert run.returncode == 0, run


@test
def metrics_have_no_name_of_a_lock_and_do_not_grow():
    with Watched() as cluster:
        cluster.start()
        before = samples(cluster.get("/metrics")[2])[1]
        with cluster.plain() as client:
            client.attach("client-of-mine")
            for i in range(100):
                client.lock(f"lock-of-mine-{i}", client_id="client-of-mine")
            text = cluster.get("/metrics")[2]
        assert "of-mine" not in text
        assert samples(text)[1].keys() == before.keys()


def leading(cluster, *nodes):
    """The one of @nodes that says so, if the others say that they do not."""
    yes = [n for n in nodes if cluster.status_of("/leader", n) == 200]
    return yes[0] if len(yes) == 1 else None


@test
def one_node_is_the_leader_and_all_are_ready():
    with Watched(nodes=3, **CALM) as cluster:
        cluster.start()
        wait_until(lambda: all(cluster.status_of("/readyz", n) == 200 for n in (1, 2, 3)), WAIT_S,
                   "all are ready")
        leader = wait_until(lambda: leading(cluster, 1, 2, 3), WAIT_S, "one leads")
        others = [n for n in (1, 2, 3) if n != leader]
        assert f"node {leader}" in cluster.get("/leader", others[0])[2]
        assert cluster.status_of("/leader", leader, method="HEAD") == 200
        assert cluster.stop(leader) == 0
        last = wait_until(lambda: leading(cluster, *others), WAIT_S, "another one leads")
        cluster.kill9(next(n for n in others if n != last))
        wait_until(lambda: cluster.status_of("/leader", last) == 503, WAIT_S, "alone it steps down")
        wait_until(lambda: cluster.status_of("/readyz", last) == 503, WAIT_S, "alone it is not ready")
        assert cluster.status_of("/healthz", last) == 200


@test
def members_show_roles_and_lag():
    with Watched(nodes=3, **CALM) as cluster:
        cluster.start()
        leader = cluster.leader()

        def caught_up():
            members = cluster.json("/api/members", leader)["members"]
            return all(m["connected"] and m["lag_entries"] == 0 for m in members) and members
        members = wait_until(caught_up, WAIT_S, "all have everything")
        assert sorted(m["node_id"] for m in members) == [1, 2, 3]
        assert {m["node_id"]: m["role"] for m in members} == {
            n: "serving" if n == leader else "follower" for n in (1, 2, 3)}
        follower = next(n for n in (1, 2, 3) if n != leader)
        seen = cluster.json("/api/members", follower)
        assert seen["view"] == "local"
        assert next(m for m in seen["members"] if m["node_id"] == leader)["role"] == "leader"
        assert not any("lag_entries" in m for m in seen["members"])


@test
def locks_are_shown_with_holders_and_queue_by_every_node():
    with Watched(nodes=3, **CALM) as cluster:
        cluster.start()
        leader = cluster.leader()
        with cluster.plain() as client:
            for name in ("a", "b", "c"):
                client.attach(name)
            client.lock("job", client_id="a", mode=WAIT, lock_timeout=3600000)
            client.lock("job", client_id="b", mode=WAIT, wait_timeout=UNLIMITED)
            client.lock("job", client_id="c", mode=WAIT, wait_timeout=3600000)
            for node in (1, 2, 3):
                answer = wait_until(lambda n=node: (lambda a: len(a["locks"]) == 1 and
                                                    a["locks"][0]["queue_length"] == 2 and a)
                                    (cluster.json("/api/locks", n)), WAIT_S, "the node has it")
                assert answer["view"] == ("leader" if node == leader else "local")
                job, = answer["locks"]
                assert (job["name"], job["type"], job["limit"]) == ("job", "write", 1)
                holder, = job["holders"]
                assert holder["client"] == "a" and holder["token"] == 1 and holder["connected"]
                assert 0 < holder["remaining_ms"] <= 3600000
                assert [(w["position"], w["client"]) for w in job["waiters"]] == [(1, "b"), (2, "c")]
                assert job["waiters"][0]["remaining_ms"] is None


@test
def time_goes_on_in_an_idle_cluster():
    with Watched() as cluster:
        cluster.start()
        with cluster.plain() as client:
            client.attach("a")
            client.lock("L", client_id="a", lock_timeout=UNLIMITED)
            wait_until(lambda: cluster.json("/api/locks")["locks"][0]["holders"][0]["since_ms"] > 300,
                       WAIT_S, "it is held longer and longer")


@test
def pages_have_every_name_once_and_searches_find_prefixes():
    with Watched() as cluster:
        cluster.start()
        names = [f"p/{i:03d} %&+\u00fc" for i in range(250)] + ["q", "other"]
        with cluster.plain() as client:
            client.attach("a")
            for name in names:
                client.lock(name, client_id="a")
            found, path = [], "/api/locks?max=100"
            for _ in range(9):
                answer = cluster.json(path)
                found += [lock["name"] for lock in answer["locks"]]
                if not answer["more"]:
                    break
                path = f"/api/locks?max=100&after={answer['next']}"
            assert found == sorted(names) and answer["next"] is None
            one = cluster.json("/api/locks?prefix=" + urllib.parse.quote("p/24"))
            assert [lock["name"] for lock in one["locks"]] == [n for n in names if n.startswith("p/24")]


@test
def names_of_strangers_are_escaped():
    names = ["<script>alert(1)</script>", "\"quoted\" \\ back", "a&amp;b", "\u202eright", "b\u00fccher"]
    with Watched() as cluster:
        cluster.start()
        with cluster.plain() as client:
            client.attach("<b>")
            for name in names:
                client.lock(name, client_id="<b>")
            _, headers, text = cluster.get("/api/locks")
        assert not set("<>&\n\x7f") & set(text.strip()), text
        assert headers["X-Content-Type-Options"] == "nosniff"
        answer = json.loads(text)
        found = sorted(lock["name"] for lock in answer["locks"])
        assert found == sorted(names), found
        assert answer["locks"][0]["holders"][0]["client"] == "<b>"


@test
def the_page_needs_nothing_from_elsewhere():
    with Watched() as cluster:
        cluster.start()
        status, headers, text = cluster.get("/")
        assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert text.startswith("<!doctype html>") and text.rstrip().endswith("</html>")
        assert not re.search(r"\bsrc=|<link [^>]*href=\"(?!data:)|@import|innerHTML|eval\(", text)
        assert set(re.findall(r"https?://[^\"' )]+", text)) <= {"http://www.w3.org/2000/svg"}


def rendered(url):
    """The page as Debian's chromium has it after some seconds of its own time."""
    with tempfile.TemporaryDirectory(prefix="netlock-browser-") as profile:
        run = subprocess.run(["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom",
                              f"--user-data-dir={profile}", "--virtual-time-budget=5000", url],
                             capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout


@test
def a_browser_shows_locks_queues_and_members():
    if not shutil.which("chromium"):
        print("skip: chromium is not installed")
        return
    with Watched(**CALM) as cluster:
        cluster.start()
        url = f"http://{cluster.ports[1].address}/"
        assert "Nobody holds a lock." in rendered(url)
        with cluster.plain() as client:
            for name in ("a", "b"):
                client.attach(name)
            client.lock("<b onclick=x>job", client_id="a", mode=WAIT, lock_timeout=3600000)
            client.lock("<b onclick=x>job", client_id="b", mode=WAIT, wait_timeout=UNLIMITED)
            page = rendered(url)
        assert '<bdi dir="ltr">&lt;b onclick=x&gt;job</bdi>' in page and "<b onclick" not in page, "a name became a tag"
        for words in ("leader’s view", "1 waiting", "1–1", "serving", "(this one)"):
            assert words in page, words
        assert re.search(r'<span id="draining"[^>]* hidden', page), "it does not drain"
        assert cluster.netlock("drain", "1", "--timeout", "100ms").returncode == 69
        assert not re.search(r'<span id="draining"[^>]* hidden', rendered(url)), "it drains"


@test
def what_is_not_asked_properly_is_refused():
    with Watched() as cluster:
        cluster.start()
        assert cluster.status_of("/nothing") == 404
        assert cluster.status_of("/api/") == 404
        assert cluster.status_of("/leader", method="POST") == 405
        for query in ("max=0", "max=1001", "max=x", "max=-1", "max=99999999999999999999",
                      "prefix=" + "x" * 256, "after=" + "x" * 256):
            assert cluster.status_of("/api/locks?" + query) == 400, query
        assert cluster.status_of("/api/locks?max=1000") == 200
        assert cluster.status_of("/api/locks", Host="evil.example") == 421
        assert cluster.status_of("/api/locks", Host="localhost:80") == 200
        assert cluster.status_of("/api/locks", Host="[::1]") == 200
        assert cluster.status_of("/healthz", Host="evil.example") == 200
        assert cluster.is_running(1)


@test
def where_there_are_tokens_the_api_wants_one():
    with Watched(tls=True) as cluster:
        cluster.configure(1, **{"acl-file": cluster.file("acl"), "tokens-file": cluster.file("tokens")})
        tokens = {}
        with open(cluster.file("tokens"), "w", encoding="utf-8") as file:
            for name in ("admin", "cron"):
                file.write(subprocess.run(
                    [os.path.join(BUILD, "src", "netlock"), "access-token", name, cluster.file(name)],
                    check=True, timeout=WAIT_S, stdout=subprocess.PIPE, text=True).stdout)
                with open(cluster.file(name), encoding="utf-8") as token:
                    tokens[name] = token.read().strip()
        with open(cluster.file("acl"), "w", encoding="utf-8") as file:
            file.write("allow admin  *       *\nallow cron   status  cron/*\nallow tester *  *\n")
        cluster.start()
        for path in ("/", "/metrics", "/healthz", "/readyz", "/leader"):
            assert cluster.status_of(path) == 200, path
        for path in ("/api/status", "/api/members", "/api/locks"):
            status, headers, _ = cluster.get(path)
            assert status == 401 and headers["WWW-Authenticate"].startswith("Bearer"), path
            assert cluster.status_of(path, token="x" + tokens["admin"][1:]) == 401, path
            assert cluster.status_of(path, token=tokens["admin"]) == 200, path
        assert cluster.status_of("/api/locks", token=tokens["cron"]) == 403
        assert cluster.status_of("/api/locks?prefix=cron/", token=tokens["cron"]) == 200


@test
def whoever_guesses_tokens_waits_at_both_ports():
    with Watched() as cluster:
        token = "0123456789abcdef" * 4
        with open(cluster.file("tokens"), "w", encoding="utf-8") as file:
            file.write("admin:" + hashlib.sha256(token.encode()).hexdigest() + "\n")
        cluster.configure(1, **{"tokens-file": cluster.file("tokens")})
        cluster.start_node(1)
        wait_until(lambda: "ready" in cluster.log_text(1), WAIT_S, "the node listens")
        for number in range(5):
            assert cluster.status_of("/api/status", token=f"guess {number}") == 401
        status, headers, text = cluster.get("/api/status", token=token)
        if status != 200:  # a second has not passed yet: usual, but not on a machine that stood still
            assert status == 429 and headers["Retry-After"] == "1" and "wait" in text, (status, text)
        for number in range(5, 8):
            wait_until(lambda: cluster.status_of("/api/status", token=f"guess {number}") == 401, WAIT_S,
                       "a guess is looked at")
        run = cluster.netlock("status", "a", env={"NETLOCK_ACCESS_TOKEN": token})
        assert run.returncode == 0, run  # told to wait, it does
        assert cluster.status_of("/healthz", token="guess") == 200
        wait_until(lambda: cluster.status_of("/api/status", token=token) == 200, WAIT_S,
                   "a token that is right is taken")


@test
def one_address_does_not_keep_the_others_from_the_port():
    with Watched() as cluster:
        cluster.start_node(1)
        wait_until(lambda: "ready" in cluster.log_text(1), WAIT_S, "the node listens")
        host, port = cluster.ports[1].address.split(":")
        slow = []
        for _ in range(100):
            slow.append(socket.create_connection((host, int(port)), timeout=WAIT_S))
            slow[-1].sendall(b"GET /healthz HT")
        other = socket.create_connection((host, int(port)), timeout=WAIT_S, source_address=("127.0.0.2", 0))
        other.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert other.recv(100).startswith(b"HTTP/1.1 200")
        assert not select.select([slow[0]], [], [], 0)[0], "only when those before it were given up"
        for connection in slow + [other]:
            connection.close()


@test
def certificates_are_read_anew():
    with Watched(tls=True) as cluster:
        cluster.start()
        first = cluster.connect()
        first.connect()
        before = first.sock.getpeercert()["serialNumber"]
        first.close()
        for name in ("node1.pem", "node1.key"):
            os.remove(cluster.file(name))
        cluster._certify("node", "1", HOST)  # pylint: disable=protected-access
        cluster.hangup(1)
        wait_until(lambda: "reloaded" in cluster.log_text(1), WAIT_S, "the node has read them")
        second = cluster.connect()
        second.connect()
        assert second.sock.getpeercert()["serialNumber"] != before
        second.close()
        assert cluster.stop(1) == 0


@test
def the_port_is_guarded_like_the_others():
    netlockd = os.path.join(BUILD, "src", "netlockd")

    def refusal(*flags):
        run = subprocess.run([netlockd, "--check", *flags], capture_output=True, text=True, timeout=WAIT_S,
                             check=False)
        return run.returncode, run.stderr
    status, text = refusal("--http-listen", "0.0.0.0:7672")
    assert status == 2 and "http-listen" in text and "insecure-listen" in text, text
    assert refusal("--http-listen", "0.0.0.0:7672", "--insecure-listen", "yes")[0] == 0
    status, text = refusal("--http-listen", "0.0.0.0:7672", "--insecure-listen", "yes", "--tokens-file", "/x")
    assert status == 2 and "tokens-file" in text, text
    assert refusal("--http-listen", "127.0.0.1:7670")[0] == 2  # the clients' port


@test
def a_node_stops_whoever_is_looking():
    with Watched() as cluster:
        cluster.start()
        idle = cluster.connect()
        idle.request("GET", "/healthz")
        assert idle.getresponse().read() == b"ok\n"
        half = socket.create_connection(cluster.ports[1].address.split(":"))
        half.sendall(b"GET /api/locks HTTP/1.1\r\nHost: local")
        asked = [socket.create_connection(cluster.ports[1].address.split(":")) for _ in range(8)]
        for each in asked:
            each.sendall(b"GET /api/locks HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert cluster.stop(1) == 0
        for each in (half, *asked):
            each.close()
        idle.close()
        cluster.start_node(1)
        cluster.wait_serving()
        assert cluster.status_of("/leader") == 200


if __name__ == "__main__":
    sys.exit(test.run(*sys.argv[2:]))
