"""Uses the Python client that openapi-python-client makes of openapi.yaml against `demo`, by its types alone:
what a program would do that was written by looking at the generated code.

    python tests/openapi/client.py DIRECTORY BASE_URL

DIRECTORY holds the package `gateway_client`. Ends with status 0 if all went as documented.
"""

import sys
from uuid import UUID, uuid4

sys.path.insert(0, sys.argv[1])

from gateway_client import AuthenticatedClient, models  # noqa: E402
from gateway_client.api.attributes import (  # noqa: E402
    delete_attribute,
    get_attribute,
    get_attributes,
    patch_attributes,
    put_attribute,
    put_attributes,
)
from gateway_client.api.conversations import get_conversation, list_conversations, search_conversations  # noqa: E402
from gateway_client.types import UNSET  # noqa: E402

LIVE = UUID("11111111-1111-4111-8111-111111111111")
ENDED = UUID("44444444-4444-4444-8444-444444444444")
NOBODY = UUID("99999999-9999-4999-8999-999999999999")


def check(answer, status, kind):
    """The parsed answer, which has this status and type."""
    found = answer.status_code, type(answer.parsed)
    assert found == (status, kind), f"{found}: {answer.content[:500]}"
    return answer.parsed


def body(**attributes):
    return models.WriteRequestBody(attributes=models.WriteRequestBodyAttributes.from_dict(attributes))


def main():
    client = AuthenticatedClient(
        base_url=sys.argv[2], token="demo-key", raise_on_unexpected_status=True
    )

    def put(conversation=LIVE, **options):
        return put_attributes.sync_detailed(conversation, client=client, **options)

    answer = get_attributes.sync_detailed(LIVE, client=client)
    read = check(answer, 200, models.AttributesResponse)
    assert read.conversation_id == LIVE and read.participant.purpose == "customer"
    assert read.attributes["customer_tier"] == "gold" and read.size.limit_bytes == 10240
    tag = answer.headers["etag"]
    seen = get_attributes.sync_detailed(LIVE, client=client, if_none_match=tag)
    assert seen.status_code == 304 and seen.parsed is None

    wrote = check(put(body=body(loyalty_tier=str(uuid4())), if_match=tag), 200, models.WriteResponse)
    assert wrote.outcomes["loyalty_tier"] == "verified" and wrote.verification.status == "verified"
    late = check(put(body=body(loyalty_tier="silver"), if_match=tag), 412, models.Problem)
    assert late.code == "precondition-failed" and late.effect == models.ProblemEffect.NOTAPPLIED
    wrong = check(put(body=body(**{"": "x", "note": ""})), 422, models.Problem)
    assert wrong.code == "invalid-attributes" and [one.pointer for one in wrong.errors] == ["#/attributes/"]
    large = check(put(body=body(note="x" * 11_000)), 422, models.Problem)
    assert large.code == "attributes-too-large" and large.largest[0].key == "note"
    assert large.bytes_ > large.limit_bytes == 10240
    ended = check(put(ENDED, body=body(note="x")), 409, models.Problem)
    assert ended.code == "conversation-ended" and not ended.retryable and ended.retry_after_seconds is UNSET
    dry = check(put(body=body(note="x"), dry_run=True), 200, models.WriteResponse)
    assert dry.dry_run and dry.outcomes["note"] == "wouldSend" and dry.verification is UNSET

    null = models.PatchRequestBodyAttributes.from_dict({"loyalty_tier": None, "visits": "3"})
    patch = models.PatchRequestBody(attributes=null)
    patched = check(patch_attributes.sync_detailed(LIVE, client=client, body=patch), 200, models.WriteResponse)
    assert patched.outcomes.to_dict() == {"loyalty_tier": "cleared", "visits": "verified"}

    key = "50 % / ümlaut?"
    one = models.AttributeRequestBody(value="there")
    check(put_attribute.sync_detailed(LIVE, key, client=client, body=one), 200, models.WriteResponse)
    found = check(get_attribute.sync_detailed(LIVE, key, client=client), 200, models.AttributeResponse)
    assert (found.key, found.value) == (key, "there")
    gone = check(delete_attribute.sync_detailed(LIVE, key, client=client), 200, models.WriteResponse)
    assert gone.outcomes[key] == "cleared"
    missing = check(get_attribute.sync_detailed(LIVE, key, client=client), 404, models.Problem)
    assert missing.code == "attribute-not-found"

    flat = models.GetAttributesView.FLAT
    flat = get_attributes.sync_detailed(NOBODY, client=client, view=flat, keys="visits")
    told = check(flat, 200, models.FlatResponse)
    assert not told.ok and told.code == "conversation-not-found" and told["visits"] == ""
    everybody = get_attributes.sync_detailed(LIVE, client=client, participant="all")
    assert check(everybody, 200, models.AllAttributesResponse).participants[0].attributes["visits"] == "3"
    seen = check(get_conversation.sync_detailed(LIVE, client=client), 200, models.Conversation)
    assert seen.state == "live" and "customer" in seen.participants[0].selectors
    page = check(list_conversations.sync_detailed(client=client, limit=1), 200, models.ConversationList)
    assert len(page.conversations) == 1 and page.next_cursor
    search = models.SearchRequestBody(ani="no number")
    refused = check(search_conversations.sync_detailed(client=client, body=search), 400, models.Problem)
    assert refused.errors[0].pointer == "#/ani"
    print("the generated Python client: all as documented")


if __name__ == "__main__":
    main()
