"""Checks the files of deploy/: manifests, compose file, dashboard, alerts and runbooks.

Usage: check.py URL-OF-A-RUNNING-DEMO. Ends with 1 and a list of what is wrong.
"""

import json
import pathlib
import re
import sys
import urllib.request

import kubernetes_validate
import yaml

KUBERNETES_VERSION = "1.30"
METRIC = re.compile(r"\b(?:attribute_gateway|process)_[a-z_]+")
OBSERVABILITY = pathlib.Path("deploy/observability")
RUNBOOKS = pathlib.Path("docs/runbooks")
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
# The kinds that kubectl and operators add. The schemas of Kubernetes do not know them.
FOREIGN_KINDS = {"Kustomization", "Component", "ServiceMonitor"}

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


def served_metrics(url):
    """The names of the samples that a gateway serves, and of the families without samples yet."""
    conversation = "11111111-1111-4111-8111-111111111111"
    attributes = f"{url}/v1/conversations/{conversation}/attributes"
    body = json.dumps({"attributes": {"tier": "gold"}}).encode()
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(attributes, body, headers, method="PUT"), timeout=10).read()
    urllib.request.urlopen(attributes, timeout=10).read()
    text = urllib.request.urlopen(f"{url}/metrics", timeout=10).read().decode()
    names = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "info": ["_info"]}
            names |= {name + suffix for suffix in suffixes.get(kind, [""])}
    return names


def check_metrics(served):
    """Rules, dashboard and docs name no metric that does not exist."""
    documents = [
        *OBSERVABILITY.rglob("*.yaml"),
        *OBSERVABILITY.rglob("*.json"),
        *pathlib.Path("docs").rglob("*.md"),
    ]
    # Metrics that exist only with TLS, with clients or on other systems are documented as such.
    documented = set(METRIC.findall(read("docs/operations.md")))
    for path in documents:
        for name in sorted(set(METRIC.findall(read(path)))):
            if name.startswith("process_") and path.suffix == ".md":
                continue
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            known = {name, base} & (served | documented) if path.name != "operations.md" else {name} & served
            is_conditional = path.name == "operations.md" and re.search(rf"`{name}`[^\n]*only with", read(path))
            if not known and not is_conditional:
                problems.append(f"{path}: the gateway has no metric {name}")


def check_runbooks():
    """Each alert has a page in four parts, and each page an alert."""
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


check_manifests()
check_kustomizations()
check_compose()
check_metrics(served_metrics(sys.argv[1]))
check_runbooks()
check_dashboard()
for problem in problems:
    print(f"deploy test: {problem}", file=sys.stderr)
sys.exit(1 if problems else 0)
