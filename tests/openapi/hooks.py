"""What the description of the API cannot say, for Schemathesis."""

import json
from uuid import UUID

import schemathesis
from schemathesis import GenerationMode

# The calls of `demo`: live, before any queue, with two agents, over.
CALLS = [f"{n * 8}-{n * 4}-4{n * 3}-8{n * 3}-{n * 12}" for n in "1234"]


@schemathesis.hook
def before_call(context, case, kwargs):
    """Most made-up conversations become those that are there. What no schema can tell is made so: a text
    that has to hold an object of strings, and a key in the body, which has to be that of the path, is left out."""
    try:
        number = UUID(case.path_parameters["conversationId"]).int
    except (KeyError, TypeError, ValueError, AttributeError):
        number = len(CALLS)  # None, or no id at all: stays as it is.
    if number % (len(CALLS) + 1) < len(CALLS):
        case.path_parameters["conversationId"] = CALLS[number % (len(CALLS) + 1)]
    if isinstance(case.body, dict) and isinstance(case.body.get("attributesJson"), str):
        case.body["attributesJson"] = json.dumps({"made_up": case.body["attributesJson"]})
    if isinstance(case.body, dict) and isinstance(case.body.get("key"), str):
        del case.body["key"]
    # A cursor is what an answer gave: none can be made up.
    for place in [case.query, case.body]:
        if isinstance(place, dict) and case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE:
            place.pop("cursor", None)
    # Parameters that contradict each other, which no schema of single parameters can tell: the flat form is
    # JSON, and only it has a place for keys in the view of a conversation.
    if isinstance(case.query, dict) and case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE:
        if case.query.get("view") == "flat":
            case.query.pop("format", None)
        elif case.operation.path == "/v1/conversations/{conversationId}":
            for name in ["keys", "key"]:
                case.query.pop(name, None)
    # The coverage phase takes `0` for the smallest text of the pattern of a condition, which it is not.
    if case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE:
        for name in ["If-Match", "If-None-Match"]:
            if (case.headers or {}).get(name) == "0":
                case.headers[name] = '"0"'
    # Nobody can make up a credential that is good; the good one comes as X-API-Key with every request.
    if case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE and case.headers:
        case.headers.pop("Authorization", None)
