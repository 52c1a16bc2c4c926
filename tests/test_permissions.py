#!/usr/bin/python3
"""Permissions of real processes: certificates, access tokens and an ACL that changes while they run.

    tests/test_permissions.py BUILD [PART-OF-A-NAME]"""

import os
import subprocess
import sys

from procs import Cluster, Suite, wait_until

BUILD = sys.argv[1]
test = Suite()
WAIT = 60
DENIED = 77

RULES = """\
allow tester  *            *
allow cron-*  read,write   cron/*
allow cron-*  status       cron/*
"""


class Guarded:
    """A node with TLS, an ACL and one token, that of cron-a."""

    def __init__(self):
        self.cluster = Cluster(build=BUILD, tls=True)
        files = {"acl-file": self.cluster.file("acl"), "tokens-file": self.cluster.file("tokens")}
        with open(self.cluster.config(1), "a", encoding="utf-8") as file:
            file.writelines(f"{key} = {value}\n" for key, value in files.items())
        self.write("acl", RULES)
        self.write("tokens", self.make_token("cron-a"))

    def __enter__(self):
        self.cluster.__enter__()
        self.cluster.start()
        return self

    def __exit__(self, *how):
        self.cluster.__exit__(*how)

    def write(self, name, text):
        with open(self.cluster.file(name), "w", encoding="utf-8") as file:
            file.write(text)

    def make_token(self, name):
        return subprocess.run([os.path.join(BUILD, "src", "netlock"), "access-token", name,
                               self.cluster.file(f"{name}.token")], check=True, timeout=WAIT,
                              stdout=subprocess.PIPE, text=True).stdout

    def reload(self, word):
        """SIGHUP, and the node says @word."""
        after = len(self.cluster.log_text(1))
        self.cluster.hangup(1)
        wait_until(lambda: word in self.cluster.log_text(1)[after:], WAIT, f"the log says {word}")

    def with_token(self, name, *arguments):
        """A client that has the CA's certificate and the token, and no certificate of its own."""
        return subprocess.run(
            [os.path.join(BUILD, "src", "netlock"), *arguments[:1], "--servers",
             self.cluster.servers, "--tls-ca", self.cluster.file("ca.pem"), "--access-token-file",
             self.cluster.file(f"{name}.token"), *arguments[1:]],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            timeout=WAIT, env={"PATH": os.environ["PATH"]})


@test
def a_token_is_as_good_as_a_certificate():
    with Guarded() as guarded:
        done = guarded.with_token("cron-a", "run", "cron/backup", "--", "echo", "ran")
        assert (done.returncode, done.stdout) == (0, "ran\n"), done
        done = guarded.with_token("cron-a", "run", "shop/1", "--", "echo", "ran")
        assert done.returncode == DENIED and done.stdout == "", done
        assert "ACL" in done.stderr, done
        done = guarded.with_token("cron-a", "list")
        assert done.returncode == DENIED, done
        done = guarded.cluster.netlock("run", "shop/1", "--", "echo", "ran")
        assert (done.returncode, done.stdout) == (0, "ran\n"), done


@test
def a_token_that_the_cluster_does_not_have_is_refused():
    with Guarded() as guarded:
        guarded.make_token("cron-b")
        done = guarded.with_token("cron-b", "run", "cron/backup", "--", "echo", "ran")
        assert done.returncode == DENIED and done.stdout == "", done


@test
def rules_and_tokens_change_while_it_runs():
    with Guarded() as guarded:
        guarded.write("tokens", guarded.make_token("cron-b"))
        guarded.reload("reloaded")
        done = guarded.with_token("cron-b", "run", "cron/backup", "--", "echo", "ran")
        assert (done.returncode, done.stdout) == (0, "ran\n"), done
        done = guarded.with_token("cron-a", "run", "cron/backup", "--", "echo", "ran")
        assert done.returncode == DENIED, done
        guarded.write("acl", RULES + "allow nonsense\n")
        guarded.reload("reload-refused")
        assert "acl:4:" in guarded.cluster.log_text(1)
        done = guarded.with_token("cron-b", "run", "cron/backup", "--", "true")
        assert done.returncode == 0, done
        guarded.write("acl", "allow tester * *\n")
        guarded.reload("reloaded")
        done = guarded.with_token("cron-b", "run", "cron/backup", "--", "true")
        assert done.returncode == DENIED, done


@test
def a_token_file_for_all_to_read_is_not_used():
    with Guarded() as guarded:
        os.chmod(guarded.cluster.file("cron-a.token"), 0o644)
        done = guarded.with_token("cron-a", "run", "cron/backup", "--", "true")
        assert done.returncode == 64 and "chmod 600" in done.stderr, done


@test
def tokens_do_not_cross_the_network_in_the_clear():
    with Cluster(build=BUILD, options={"insecure-listen": "yes"}) as cluster:
        tokens = cluster.file("tokens")
        with open(tokens, "w", encoding="utf-8") as file:
            file.write("")
        done = subprocess.run([os.path.join(BUILD, "src", "netlockd"), "--insecure-listen", "yes",
                               "--listen", "0.0.0.0:0", "--tokens-file", tokens, "--data-dir",
                               cluster.file("data")], stdin=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, timeout=WAIT)
        assert done.returncode == 2 and "in the clear" in done.stderr, done


if __name__ == "__main__":
    sys.exit(test.run(sys.argv[2] if len(sys.argv) > 2 else ""))
