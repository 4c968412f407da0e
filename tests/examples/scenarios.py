"""One of the client examples against a running `attribute-gateway demo`, in every situation that it
has to have an answer to.

    python tests/examples/scenarios.py GATEWAY_URL SIMULATOR_URL COMMAND...

The command takes CONVERSATION KEY VALUE. One line per step; the exit status is 0 if all passed. The
last step leaves the platform throttled: each run needs a demo of its own.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request

CONVERSATION = "11111111-1111-4111-8111-111111111111"
CUSTOMER = "c1111111-1111-4111-8111-111111111111"
CONFERENCE = "33333333-3333-4333-8333-333333333333"
ENDED = "44444444-4444-4444-8444-444444444444"
NOWHERE = "99999999-9999-4999-8999-999999999999"
DONE, REFUSED, NOT_SEEN, NOT_POSSIBLE = 0, 1, 3, 4
NASTY = "\"it's\" $HOME `x` \\ #1 %20+& 日本 😀\nsecond line"


class Ended:
    """How a run of the client went."""

    def __init__(self, completed, took):
        self.status = completed.returncode
        self.out = completed.stdout.strip()
        self.err = completed.stderr
        self.took = took

    def expect(self, status, out):
        if (self.status, self.out) != (status, out):
            raise AssertionError(f"{self.status} {self.out!r}, not {status} {out!r}: {self.err}")


class Steps:
    def __init__(self, gateway, simulator, command):
        self.gateway, self.simulator, self.command = gateway, simulator, command

    def a_throttled_platform_is_given_the_time_it_asks_for(self):
        # First of all: after a 429 the gateway is the more careful, the more calls it has just made.
        self.fault({"on": {"kind": "read"}, "action": "throttle", "retry_after": 3})
        ended = self.run("throttled", "yes", GATEWAY_WAIT="1")
        ended.expect(DONE, "verified")
        expect("upstream-rate-limited" in ended.err, True)
        expect(ended.took >= 3, True)

    def a_value_is_written_and_proved(self):
        self.run("visited", "yes").expect(DONE, "verified")
        self.run("visited", "yes").expect(DONE, "unchanged")
        expect(self.truth("visited"), "yes")

    def keys_and_values_hold_anything(self):
        self.run("a/b c&d=é", NASTY).expect(DONE, "verified")
        expect(self.truth("a/b c&d=é"), NASTY)

    def an_empty_value_clears(self):
        self.run("visited", "").expect(DONE, "cleared")

    def who_is_slower_reads_again_and_decides_anew(self):
        self.settings(lag="0ms")
        # The client reads, then another writer writes, then the client's condition is judged.
        theirs = {"action": "foreign_write", "participant": CUSTOMER, "map": {"stage": "theirs"}}
        self.fault({**theirs, "on": {"kind": "read"}, "skip": 1})
        ended = self.run("stage", "ours")
        ended.expect(DONE, "verified")
        expect("changed meanwhile" in ended.err, True)
        last = [entry for entry in self.sim("GET", "ledger") if "stage" in entry["changes"]][-2:]
        expect([entry["changes"]["stage"] for entry in last], ["theirs", "ours"])

    def what_is_not_seen_yet_is_looked_for_and_not_written_again(self):
        self.settings(lag="2500ms")
        self.run("late", "1", GATEWAY_WAIT="1").expect(DONE, "verified")
        expect(self.written("late"), 1)

    def what_is_never_seen_is_said_to_be_accepted(self):
        # In a call of its own: what is not seen stands against every later condition there.
        self.settings(lag="60s")
        ended = self.run("never", "1", CONFERENCE, GATEWAY_WAIT="1", PATIENCE="3")
        ended.expect(NOT_SEEN, "accepted")
        expect(self.written("never"), 1)
        self.settings(lag="0ms")

    def another_writers_value_is_left_alone(self):
        theirs = {"participant": CUSTOMER, "map": {"owner": "theirs"}}
        self.fault({"on": {"kind": "patch"}, "action": "foreign_write_after", **theirs})
        ended = self.run("owner", "ours")
        ended.expect(NOT_POSSIBLE, "")
        expect("write-superseded" in ended.err, True)
        expect(self.truth("owner"), "theirs")

    def a_call_that_is_over_is_not_written_to(self):
        ended = self.run("visited", "yes", conversation=ENDED)
        ended.expect(NOT_POSSIBLE, "")
        expect("conversation-ended" in ended.err, True)

    def a_call_that_is_not_there_is_refused_at_once(self):
        ended = self.run("visited", "yes", conversation=NOWHERE)
        ended.expect(REFUSED, "")
        expect("conversation-not-found" in ended.err, True)

    def a_gateway_that_does_not_answer_is_tried_again_while_there_is_patience(self):
        ended = self.run("visited", "yes", GATEWAY_URL="http://127.0.0.1:1", PATIENCE="2")
        ended.expect(REFUSED, "")
        expect("out of patience" in ended.err, True)

    def a_wait_that_is_longer_than_the_patience_is_not_begun(self):
        self.fault({"on": {"kind": "read"}, "action": "throttle", "retry_after": 100})
        ended = self.run("patience", "yes", PATIENCE="20")
        ended.expect(REFUSED, "")
        expect("out of patience" in ended.err, True)
        expect(ended.took < 10, True)

    def run(self, key, value, conversation=CONVERSATION, **env):
        start = time.monotonic()
        completed = subprocess.run(
            [*self.command, conversation, key, value],
            env={**os.environ, "GATEWAY_URL": self.gateway, "GATEWAY_KEY": "demo-key", **env},
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
        )
        return Ended(completed, time.monotonic() - start)

    def truth(self, key):
        """The value that the platform holds, its lag ignored."""
        changes = [entry["changes"] for entry in self.sim("GET", "ledger")]
        return [change[key] for change in changes if key in change][-1]

    def written(self, key):
        return sum(key in entry["changes"] for entry in self.sim("GET", "ledger"))

    def settings(self, **changes):
        self.sim("PATCH", "settings", changes)

    def fault(self, fault):
        self.sim("POST", "faults", fault)

    def sim(self, method, path, body=None):
        request = urllib.request.Request(
            f"{self.simulator}/__sim/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


def expect(found, wanted):
    if found != wanted:
        raise AssertionError(f"{found!r}, not {wanted!r}")


def main():
    gateway, simulator, *command = sys.argv[1:]
    steps = Steps(gateway, simulator, command)
    names = [name for name in vars(Steps) if "_" in name and not name.startswith("_")]
    failed = 0
    for name in names:
        start = time.monotonic()
        try:
            getattr(steps, name)()
            result = "ok"
        except (AssertionError, subprocess.TimeoutExpired, OSError) as error:
            failed += 1
            result = f"FAILED: {error}"
        print(f"  {name.replace('_', ' ')}: {result} ({time.monotonic() - start:.1f} s)", flush=True)
    print(f"{len(names) - failed} of {len(names)} steps passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
