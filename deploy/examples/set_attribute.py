"""Sets one participant attribute of a live call: reads, decides, and writes on condition that the
participant's attributes have not changed in between.

    pip install requests
    python set_attribute.py CONVERSATION KEY VALUE

GATEWAY_URL (http://127.0.0.1:8080), GATEWAY_KEY (sent as Authorization: Bearer), GATEWAY_WAIT (how
long one answer may take, 5 s) and PATIENCE (how long everything may take, 30 s) come from the
environment. Exit status: 0 written; 1 refused, or out of time; 3 accepted, but not visible yet;
4 impossible: another writer's value stands, or the call has ended.
"""

import os
import sys
import time

import requests


class Refused(Exception):
    """The gateway refused, and a retry would not help."""

    def __init__(self, answer):
        self.status = answer.status_code
        try:
            problem = answer.json()
        except ValueError:  # a proxy answered instead of the gateway
            problem = {}
        self.code = problem.get("code", f"HTTP {answer.status_code}")
        super().__init__(
            f"{self.code}: {problem.get('message', '')} {problem.get('hint', '')} "
            f"(request {problem.get('requestId', '-')})"
        )


class OutOfPatience(Exception):
    """What happened last when time was up."""


class Gateway:
    def __init__(self, url, key=None, wait=5, patience=30):
        self.url, self.wait, self.patience = url.rstrip("/"), wait, patience
        self.session = requests.Session()  # keeps connections; one for the whole program
        self.session.headers["Prefer"] = f"wait={wait}"
        if key:
            self.session.headers["Authorization"] = f"Bearer {key}"

    def change(self, conversation, key, decide):
        """Computes the new value from the old one with `decide`, and writes it on condition that nothing
        has changed since the read. Returns the outcome: verified, unchanged, cleared or accepted."""
        end = time.monotonic() + self.patience
        while True:
            try:
                # Every attempt begins with a read. If the result of the previous one is unknown, the
                # read shows it, and nothing is written twice.
                answer = self._call("GET", conversation)
                if answer.status_code == 200:
                    value = decide(answer.json()["attributes"].get(key, ""))
                    answer = self._call(
                        "PUT",
                        conversation,
                        headers={"If-Match": answer.headers["ETag"]},
                        json={"attributes": {key: value}},
                    )
                    if answer.status_code == 200:
                        return answer.json()["outcomes"][key]
                    if answer.status_code == 202:
                        return self._look(conversation, key, value, end)
                wait, why = self._next(answer)
            except (requests.ConnectionError, requests.Timeout) as error:
                wait, why = 1, type(error).__name__
            if time.monotonic() + wait > end:
                raise OutOfPatience(why)
            print(f"{why}; again in {wait} s", file=sys.stderr)
            time.sleep(wait)

    def _next(self, answer):
        """How many seconds to wait before starting again, and why; an exception if a retry would not help."""
        if answer.status_code == 412:  # another client was faster: read and decide again
            return 1, "changed meanwhile"
        if answer.status_code in (409, 429, 503, 504):
            problem = Refused(answer)
            retryable = answer.status_code != 409 or answer.json().get("retryable", False)
            if retryable:  # Retry-After is in whole seconds
                return int(answer.headers.get("Retry-After", 1)), problem.code
            raise problem
        raise Refused(answer)

    def _look(self, conversation, key, value, end):
        """202: the platform has accepted the write and does not show it yet. Writing again does not
        help; reading again does."""
        while time.monotonic() + 1 <= end:
            time.sleep(1)
            answer = self._call("GET", conversation)
            if answer.status_code == 200 and answer.json()["attributes"].get(key, "") == value:
                return "verified"
        return "accepted"

    def _call(self, method, conversation, **more):
        url = f"{self.url}/v1/conversations/{conversation}/attributes"
        return self.session.request(method, url, timeout=self.wait + 2, **more)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    conversation, key, value = sys.argv[1:]
    gateway = Gateway(
        os.environ.get("GATEWAY_URL", "http://127.0.0.1:8080"),
        os.environ.get("GATEWAY_KEY"),
        int(os.environ.get("GATEWAY_WAIT", "5")),
        int(os.environ.get("PATIENCE", "30")),
    )
    try:
        outcome = gateway.change(conversation, key, lambda old: value)
    except OutOfPatience as last:
        print(f"out of patience: {last}", file=sys.stderr)
        return 1
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 4 if refused.status == 409 else 1
    print(outcome)
    return 3 if outcome == "accepted" else 0


if __name__ == "__main__":
    sys.exit(main())
