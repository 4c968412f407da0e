"""Checks the files of deploy/: manifests, compose file, dashboard, alerts and runbooks.

Usage: check.py GATEWAY-URL SIMULATOR-URL SBOM, with the URLs of a running demo. Ends with 1 and a list of what is wrong.
"""

import json
import pathlib
import re
import sys
import urllib.error
import urllib.request

import kubernetes_validate
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

KUBERNETES_VERSION = "1.30"
CLIENT_KEY = "demo-key"
# Names after a colon are of recording rules.
METRIC = re.compile(r"(?<![:\w])(?:attribute_gateway_[a-z]|process_(?:cpu|open|max|resident|virtual|start|threads))[a-z_]*")
HISTOGRAMS = {f"attribute_gateway_{name}" for name in ("read_backs", "write_calls", "batch_writes")}
OBSERVABILITY = pathlib.Path("deploy/observability")
RUNBOOKS = pathlib.Path("docs/runbooks")
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
# The kinds that kubectl and operators add. The schemas of Kubernetes do not know them.
FOREIGN_KINDS = {"Kustomization", "Component", "ServiceMonitor"}

# Attributes that `doctor --write-test` writes; no metrics.
DOCTOR_KEYS = {"attribute_gateway_doctor", "attribute_gateway_doctor_other"}

problems = []


def read(path):
    return pathlib.Path(path).read_text(encoding="utf-8")


def check_manifests():
    """Every Kubernetes object matches its schema."""
    count = 0
    for path in sorted(pathlib.Path("deploy/kubernetes").rglob("*.yaml")):
        for manifest in yaml.safe_load_all(read(path)):
            if "kind" not in manifest or manifest["kind"] in FOREIGN_KINDS or "patch" in path.name:
                continue
            count += 1
            try:
                kubernetes_validate.validate(manifest, KUBERNETES_VERSION, strict=True)
            except kubernetes_validate.ValidationError as error:
                problems.append(f"{path}: {error.message}")
    if count < 5:
        problems.append(f"only {count} Kubernetes objects were found")


def check_kustomizations():
    """Every file that a kustomization names is there."""
    for path in sorted(pathlib.Path("deploy/kubernetes").rglob("kustomization.yaml")):
        kustomization = yaml.safe_load(read(path))
        names = list(kustomization.get("resources", []))
        for generator in ("configMapGenerator", "secretGenerator"):
            for entry in kustomization.get(generator, []):
                names += [name.split("=")[-1] for name in entry.get("files", [])]
        names += [patch["path"] for patch in kustomization.get("patches", []) if "path" in patch]
        problems.extend(f"{path}: {name} is missing" for name in names if not (path.parent / name).exists())


def check_compose():
    """Each service names its image, and only services, files and profiles that exist."""
    compose = yaml.safe_load(read("docker-compose.yml"))
    services = compose["services"]
    for name, service in services.items():
        if not service.get("image") and not service.get("build"):
            problems.append(f"compose: {name} has neither image nor build")
        problems.extend(
            f"compose: {name} depends on {other}, which does not exist"
            for other in service.get("depends_on", {})
            if other not in services
        )
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./") and not pathlib.Path(source).exists():
                problems.append(f"compose: {name} mounts {source}, which does not exist")


def send(method, url, body=None):
    """The text of an answer, whatever its status is."""
    headers = {"Content-Type": "application/json", "X-API-Key": CLIENT_KEY}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=20) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()


def served_metrics(gateway, simulator):
    """The samples that a gateway serves after reads, writes, a retry and a 429."""
    attributes = f"{gateway}/v1/conversations/11111111-1111-4111-8111-111111111111/attributes"
    limit = {"key": "client.credentials.token.rate.per.minute", "namespace": "platform.api", "value": 300}
    throttled = {"action": "status", "code": 429, "retry_after": 1, "body": {"status": 429, "limit": limit}}
    send("POST", f"{simulator}/__sim/faults", [{"on": {"kind": "read"}, "action": "status", "code": 503}])
    send("GET", attributes)
    send("PUT", attributes, {"attributes": {"tier": "gold"}})
    send("POST", f"{simulator}/__sim/faults", [{"on": {"kind": "read"}, **throttled}])
    send("GET", attributes)
    return [line for line in send("GET", f"{gateway}/metrics").splitlines() if not line.startswith("#")]


def documented_metrics():
    """The table of docs/operations.md: the labels of each metric. A unit test holds it against the code."""
    metrics = {}
    for row in re.findall(r"^\| `attribute_gateway_.*$", read("docs/operations.md"), re.M):
        _, names, labels, *_ = row.split("|")
        for name in re.findall(r"`([^`]+)`", names):
            metrics[name] = set(re.findall(r"`([^`]+)`", labels))
            if name.endswith("_seconds") or name in HISTOGRAMS:
                metrics |= {f"{name}_{part}": metrics[name] for part in ("bucket", "sum", "count")}
    return metrics


def documented_values():
    """The list of docs/operations.md: the values of each label."""
    lines = re.findall(r"^- `(\w+)`: (.*)$", read("docs/operations.md"), re.M)
    return {label: set(re.findall(r"`([^`]+)`", values)) for label, values in lines}


def check_selectors(path, text, metrics, values):
    """Selectors name only labels and values that exist."""
    for name, selector in re.findall(r"\b(attribute_gateway_\w+)\{([^}]*)\}", text):
        for label, value in re.findall(r'(\w+)=~?\\?"([^"\\]*)', selector):
            if label in ("job", "instance", "le") or name not in metrics:
                continue
            if label not in metrics[name]:
                problems.append(f"{path}: {name} has no label {label}")
            for word in value.split("|") if label in values else []:
                if not re.search(r"\d|\.\.", word) and word not in values[label]:
                    problems.append(f"{path}: {label} of {name} is never {word}")


def check_metrics(served):
    """Rules, dashboard and docs name no metric, label or value that does not exist."""
    metrics, values = documented_metrics(), documented_values()
    for line in served:
        name = re.match(r"\w+", line)[0]
        if name.startswith("attribute_gateway_") and name not in metrics:
            problems.append(f"{name} is served, but not in the table of docs/operations.md")
    for line in (
        'client_requests_total{client="demo",status="200"} ',
        'client_upstream_calls_total{client="demo"} ',
        'upstream_attempts_total{operation="read",answer="503"} 1',
        'upstream_retries_total{operation="read"} ',
        'upstream_throttled_total{operation="read",limit="client.credentials.token.rate.per.minute"} 1',
        'write_outcomes_total{outcome="verified"} 1',
        "ready 1",
        "credentials_refused 0",
    ):
        if not any(sample.startswith(f"attribute_gateway_{line}") for sample in served):
            problems.append(f"the gateway serves no {line}")
    documents = [*OBSERVABILITY.rglob("*.yaml"), *OBSERVABILITY.rglob("*.json"), *pathlib.Path("docs").rglob("*.md")]
    process = {re.match(r"\w+", line)[0] for line in served if line.startswith("process_")}
    for path in documents:
        text = read(path)
        unknown = set(METRIC.findall(text)) - set(metrics) - process - DOCTOR_KEYS
        problems.extend(f"{path}: the gateway has no metric {name}" for name in sorted(unknown))
        check_selectors(path, text, metrics, values)


def check_runbooks(gateway):
    """Each alert has a page in four parts, which the gateway serves, and each page an alert."""
    rules = yaml.safe_load(read(OBSERVABILITY / "prometheus/alerts.yaml"))
    alerts = {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    tested = yaml.safe_load(read(OBSERVABILITY / "prometheus/alerts_test.yaml"))
    fired = {
        test["alertname"]
        for case in tested["tests"]
        for test in case["alert_rule_test"]
        if test["exp_alerts"]
    }
    for name, rule in alerts.items():
        page = RUNBOOKS / f"{name}.md"
        if name not in fired:
            problems.append(f"{name}: no test lets it fire")
        if rule["labels"].get("severity") not in ("critical", "warning"):
            problems.append(f"{name}: no severity")
        if not rule["annotations"]["runbook_url"].endswith(f"/docs/runbooks/{name}"):
            problems.append(f"{name}: runbook_url leads elsewhere")
        if not page.exists():
            problems.append(f"{name}: no page {page}")
        elif re.findall(r"^## (.+)$", read(page), re.M) != SECTIONS:
            problems.append(f"{page}: the sections are not {SECTIONS}")
        elif send("GET", f"{gateway}/docs/runbooks/{name}") != read(page):
            problems.append(f"{page}: the gateway does not serve this page")
        elif name not in read("docs/operations.md"):
            problems.append(f"{name}: it is not in docs/operations.md")
    problems.extend(
        f"{page}: there is no such alert" for page in RUNBOOKS.glob("*.md") if page.stem not in alerts
    )


def check_dashboard():
    """Panels have a title, a description and a query, and do not overlap."""
    taken = set()
    for path in (OBSERVABILITY / "grafana/dashboards").glob("*.json"):
        for panel in json.loads(read(path))["panels"]:
            where = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(where["x"], where["x"] + where["w"])
                for y in range(where["y"], where["y"] + where["h"])
            }
            if cells & taken or where["x"] + where["w"] > 24:
                problems.append(f"{path}: {panel['title']} overlaps")
            taken |= cells
            if panel["type"] != "row" and not (panel.get("description") and panel["targets"]):
                problems.append(f"{path}: {panel['title']} has no description or no query")


def check_sbom(path):
    """The bill of materials matches the schema of CycloneDX, and lists what is known to be in the program."""
    error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(read(path))
    if error:
        problems.append(f"{path}: {error}")
    names = {component["name"] for component in json.loads(read(path))["components"]}
    problems.extend(f"{path}: {name} is missing" for name in {"axum", "rustls", "tokio"} - names)


check_manifests()
check_kustomizations()
check_compose()
check_metrics(served_metrics(sys.argv[1], sys.argv[2]))
check_runbooks(sys.argv[1])
check_dashboard()
check_sbom(sys.argv[3])
for problem in problems:
    print(f"deploy test: {problem}", file=sys.stderr)
sys.exit(1 if problems else 0)
