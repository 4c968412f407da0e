"""Lints the description of the API: the standard, the examples, and what generators of clients need."""

import json
import sys

import yaml
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012


METHODS = ["get", "put", "post", "patch", "delete"]


def resolved(document, value):
    """The value with the components in place of references to them; references to schemas stay."""
    if isinstance(value, list):
        return [resolved(document, item) for item in value]
    if not isinstance(value, dict):
        return value
    reference = value.get("$ref", "#/components/schemas/")
    if reference.startswith("#/components/schemas/"):
        return {name: resolved(document, member) for name, member in value.items()}
    component = document
    for step in reference[2:].split("/"):
        component = component[step]
    return resolved(document, component)


def operations(document):
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield f"{method.upper()} {path}", resolved(document, item[method])


def media(operation):
    """Every content of an operation, with where it stands."""
    yield from operation.get("requestBody", {}).get("content", {}).items()
    for status, response in operation["responses"].items():
        for kind, content in response.get("content", {}).items():
            yield f"{status} {kind}", content


def examples(content):
    if "example" in content:
        yield "example", content["example"]
    for name, example in content.get("examples", {}).items():
        yield name, example["value"]


def mistakes(document):
    for error in OpenAPIV31SpecValidator(document).iter_errors():
        yield f"{'/'.join(map(str, error.absolute_path))}: {error.message}"
    resource = Resource.from_contents(document, default_specification=DRAFT202012)
    registry = Registry().with_resource("urn:document", resource)

    def wrong(schema, value):
        """What is wrong with a value; references lead into the document."""
        absolute = json.loads(json.dumps(schema).replace("#/components", "urn:document#/components"))
        validator = Draft202012Validator(
            absolute, registry=registry, format_checker=Draft202012Validator.FORMAT_CHECKER
        )
        return [error.message for error in validator.iter_errors(value)]

    seen = set()
    for where, operation in operations(document):
        name = operation.get("operationId")
        if not name or name in seen:
            yield f"{where}: no operationId of its own"
        seen.add(name)
        for member in ["summary", "tags"]:
            if not operation.get(member):
                yield f"{where}: no {member}"
        tags = {tag["name"] for tag in document["tags"]}
        yield from (f"{where}: tag {tag} is not explained" for tag in operation["tags"] if tag not in tags)
        for parameter in operation.get("parameters", []):
            if not parameter.get("description"):
                yield f"{where}: parameter {parameter['name']} is not described"
            for example_name, value in examples(parameter):
                for error in wrong(parameter["schema"], value):
                    yield f"{where}: {example_name} of {parameter['name']}: {error}"
        for kind, content in media(operation):
            if kind.endswith("json") and where.split()[1].startswith("/v1/") and not list(examples(content)):
                yield f"{where}: {kind}: no example"
            for example_name, value in examples(content):
                for error in wrong(content["schema"], value):
                    yield f"{where}: {kind}: {example_name}: {error}"
        for status, response in operation["responses"].items():
            if where.split()[1].startswith("/v1/"):
                if "X-Request-Id" not in response.get("headers", {}):
                    yield f"{where}: {status}: no headers"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        # As YAML 1.1, which reads a plain date as a date: JSON has none, so `json` below refuses it.
        document = json.loads(json.dumps(yaml.safe_load(file)))
    found = list(mistakes(document))
    for mistake in found:
        print(f"{sys.argv[1]}: {mistake}", file=sys.stderr)
    count = len(list(operations(document)))
    print(f"{sys.argv[1]}: {count} operations, {len(found)} mistakes")
    sys.exit(1 if found or not count else 0)


if __name__ == "__main__":
    main()
