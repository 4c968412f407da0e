"""The official Genesys Cloud SDK for Python, unchanged, against a running simulator.

    pip install PureCloudPlatformClientV2
    attribute-gateway simulate        # in another terminal
    python tests/sdk/genesys_sdk.py http://127.0.0.1:8090

Client id and secret come from SIMULATOR_CLIENT_ID and SIMULATOR_CLIENT_SECRET, by default those of
the simulator. The first demo call must be loaded. One line per step; the exit status is 0 if all
passed, 1 if any failed.
"""

import json
import os
import sys
import time
import uuid
from datetime import datetime, timedelta, timezone

import PureCloudPlatformClientV2 as genesys
from PureCloudPlatformClientV2.rest import ApiException

CONVERSATION = "11111111-1111-4111-8111-111111111111"
CUSTOMER = "c1111111-1111-4111-8111-111111111111"
CLIENT_ID = os.environ.get("SIMULATOR_CLIENT_ID", "demo")
CLIENT_SECRET = os.environ.get("SIMULATOR_CLIENT_SECRET", "demo-secret")
PATIENCE = 10.0


class Steps:
    """What a user of the SDK would do, in order; each method is a step."""

    def __init__(self, host):
        genesys.configuration.host = host
        self.signed_in = None
        self.conversations = None

    def a_wrong_secret_is_refused(self):
        error = expect_error(
            lambda: genesys.ApiClient().get_client_credentials_token(CLIENT_ID, "wrong"), 400, 401
        )
        expect(json.loads(error.body)["error"], "invalid_client")

    def the_right_one_gets_a_token(self):
        self.signed_in = genesys.ApiClient().get_client_credentials_token(CLIENT_ID, CLIENT_SECRET)
        self.conversations = genesys.ConversationsApi(self.signed_in)
        expect(bool(self.signed_in.access_token), True)

    def a_conversation_is_read(self):
        found = self.conversations.get_conversation(CONVERSATION)
        expect(found.id, CONVERSATION)
        expect(found.end_time, None)
        customer = participant(found)
        expect(customer.purpose, "customer")
        expect(customer.calls[0].state, "connected")
        expect(customer.attributes["customer_tier"], "gold")

    def its_call_view_is_read(self):
        found = self.conversations.get_conversations_call(CONVERSATION)
        customer = participant(found)
        expect(customer.state, "connected")
        expect(customer.queue.id, participant(self.conversations.get_conversation(CONVERSATION)).queue_id)
        expect(customer.attributes["customer_tier"], "gold")

    def the_generic_patch_becomes_visible(self):
        value = str(uuid.uuid4())
        answer = self.conversations.patch_conversation_participant_attributes(
            CONVERSATION, CUSTOMER, attributes(sdk_generic=value)
        )
        expect(answer, None)
        read = lambda: self.conversations.get_conversation(CONVERSATION)
        wait_for(lambda: participant(read()).attributes.get("sdk_generic"), value)
        expect(participant(read()).attributes["customer_tier"], "gold")

    def the_calls_patch_becomes_visible(self):
        value = str(uuid.uuid4())
        answer = self.conversations.patch_conversations_call_participant_attributes(
            CONVERSATION, CUSTOMER, attributes(sdk_calls=value)
        )
        expect(type(answer).__name__, "ParticipantAttributes")
        read = lambda: self.conversations.get_conversations_call(CONVERSATION)
        wait_for(lambda: participant(read()).attributes.get("sdk_calls"), value)

    def the_details_query_lists_live_calls(self):
        now = datetime.now(timezone.utc)
        query = genesys.ConversationQuery()
        query.interval = f"{stamp(now - timedelta(days=1))}/{stamp(now + timedelta(hours=1))}"
        query.order, query.order_by = "desc", "conversationStart"
        query.paging = genesys.PagingSpec()
        query.paging.page_size, query.paging.page_number = 100, 1
        live = predicate(genesys.ConversationDetailQueryPredicate(), "conversationEnd", "notExists")
        query.conversation_filters = [all_of(genesys.ConversationDetailQueryFilter(), live)]
        voice = predicate(genesys.SegmentDetailQueryPredicate(), "mediaType", "matches", "voice")
        query.segment_filters = [all_of(genesys.SegmentDetailQueryFilter(), voice)]
        analytics = genesys.AnalyticsApi(self.signed_in)
        found = analytics.post_analytics_conversations_details_query(query)
        rows = {row.conversation_id: row for row in found.conversations}
        expect(found.total_hits, len(rows))
        expect(CONVERSATION in rows, True)
        expect(rows[CONVERSATION].conversation_end, None)
        expect(rows[CONVERSATION].participants[0].sessions[0].media_type, "voice")

    def unknown_ids_are_not_found(self):
        stranger = str(uuid.uuid4())
        error = expect_error(lambda: self.conversations.get_conversation(stranger), 404)
        body = json.loads(error.body)
        expect(body["code"], "not.found")
        headers = {name.lower(): value for name, value in error.headers.items()}
        expect(body["contextId"], headers["inin-correlation-id"])
        expect_error(
            lambda: self.conversations.patch_conversation_participant_attributes(
                CONVERSATION, stranger, attributes(a="1")
            ),
            404,
        )

    def own_calls_need_a_user(self):
        error = expect_error(lambda: self.conversations.get_conversations_calls(), 400)
        expect(json.loads(error.body)["code"], "not.a.user")


def participant(conversation):
    return next(one for one in conversation.participants if one.id == CUSTOMER)


def attributes(**values):
    body = genesys.ParticipantAttributes()
    body.attributes = values
    return body


def predicate(made, dimension, operator, value=None):
    made.type, made.dimension, made.operator = "dimension", dimension, operator
    if value is not None:
        made.value = value
    return made


def all_of(made, *predicates):
    made.type, made.predicates = "and", list(predicates)
    return made


def stamp(moment):
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def expect(actual, wanted):
    if actual != wanted:
        raise AssertionError(f"got {actual!r}, wanted {wanted!r}")


def expect_error(step, *statuses):
    try:
        step()
    except ApiException as error:
        if error.status not in statuses:
            raise AssertionError(f"got status {error.status}, wanted {statuses}") from error
        return error
    raise AssertionError("no error was raised")


def wait_for(read, wanted):
    """Writes are shown with a delay; how long is none of a client's business."""
    deadline = time.monotonic() + PATIENCE
    while (actual := read()) != wanted:
        if time.monotonic() > deadline:
            raise AssertionError(f"still {actual!r} after {PATIENCE} s, wanted {wanted!r}")
        time.sleep(0.1)


def main():
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} BASE_URL")
    steps = Steps(sys.argv[1].rstrip("/"))
    names = [name for name in vars(Steps) if not name.startswith("_")]
    failed = 0
    for name in names:
        title = name.replace("_", " ")
        try:
            getattr(steps, name)()
            print(f"ok      {title}")
        except Exception as error:  # a step may fail in any way the SDK can
            failed += 1
            print(f"FAILED  {title}: {type(error).__name__}: {error}")
    print(f"{len(names) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
