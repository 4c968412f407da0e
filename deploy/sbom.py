#!/usr/bin/env python3
"""Prints the bill of materials of the program: what is linked into it on Linux, as CycloneDX 1.5 (JSON).

It needs only Python 3.11 and cargo. `make sbom` writes it to target/sbom.cdx.json.
"""

import json
import pathlib
import subprocess
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = "x86_64-unknown-linux-gnu"


def reference(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, checksums):
    """A crate, with the checksum of its source if it comes from a registry."""
    entry = {
        "type": "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package),
    }
    if package["license"]:
        # An old spelling of `OR`, which is not an SPDX expression.
        entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return entry


def main():
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", TARGET]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    checksums = {(entry["name"], entry["version"]): entry.get("checksum") for entry in locked}
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    # What is only for builds and tests is not in the program.
    needs = {
        id: [dep["pkg"] for dep in node["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
        for id, node in nodes.items()
    }
    found, rest = set(), [root]
    while rest:
        id = rest.pop()
        if id not in found:
            found.add(id)
            rest += needs[id]
    ordered = sorted(found, key=lambda id: reference(packages[id]))
    program = component(packages[root], checksums) | {"type": "application"}
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": program},
        "components": [component(packages[id], checksums) for id in ordered if id != root],
        "dependencies": [
            {"ref": reference(packages[id]), "dependsOn": sorted({reference(packages[need]) for need in needs[id]})}
            for id in ordered
        ],
    }
    print(json.dumps(bill, indent=1))


main()
