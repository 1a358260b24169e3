"""Webhooks: who is told of events by requests of Sluice's."""

from app.openapi import examples
from app.openapi.operation import Body, Family, Link, Operation, answer, nothing, page

_OF_WEBHOOK = ("getWebhook", "changeWebhook", "rotateWebhook", "pingWebhook", "listDeliveries", "deleteWebhook")
_LINKS = {name: Link(name, {"id": "$response.body#/id"}) for name in _OF_WEBHOOK}
_URL = "https://example.invalid/sluice"

FAMILY = Family(
    "Webhooks",
    "Who is told of events by requests of Sluice's: docs/webhooks.md. A webhook is its owner's; admins see all.",
    {
        "webhooks.create": Operation(
            id="createWebhook",
            summary="Make a webhook",
            text="It is told what happens from now on, of what its owner may read. Only this answer, and that of a"
            " rotation, has the secret.",
            body=Body(
                "NewWebhook",
                {
                    "of everything": {"url": _URL},
                    "of what lands in a directory": {
                        "url": _URL,
                        "name": "builds the web",
                        "events": ["landed"],
                        "slices": [examples.SLICE],
                        "paths": ["web/"],
                    },
                },
            ),
            answers={201: answer("The webhook, with its secret", "IssuedWebhook", links=_LINKS)},
            problems=("forbidden", "not-found", "conflict", "invalid"),
        ),
        "webhooks.listing": Operation(
            id="listWebhooks",
            summary="List webhooks",
            text="In the order in which they were made: all of them for an admin, else one's own.",
            query=("limit", "cursor"),
            answers={200: page("Webhook")},
            problems=("invalid",),
        ),
        "webhooks.show": Operation(
            id="getWebhook",
            summary="Show a webhook, and how far it has come",
            answers={200: answer("The webhook", "WebhookProgress")},
            problems=("not-found", "invalid"),
        ),
        "webhooks.change": Operation(
            id="changeWebhook",
            summary="Change where a webhook calls, what it is told, or whether it is enabled",
            text="Enabled again, it goes on with the event at which it stopped. A filter that is null is none.",
            body=Body(
                "WebhookChange",
                {"enabled again": {"enabled": True}, "told of all slices": {"slices": None, "name": "all"}},
            ),
            answers={200: answer("The webhook", "Webhook")},
            problems=("forbidden", "not-found", "invalid"),
        ),
        "webhooks.remove": Operation(
            id="deleteWebhook",
            summary="Delete a webhook",
            answers={204: nothing("It is deleted")},
            problems=("not-found", "invalid"),
        ),
        "webhooks.rotate": Operation(
            id="rotateWebhook",
            summary="Give a webhook another secret",
            text="The old one signs as well until `old_secret_until`.",
            answers={200: answer("The webhook, with its new secret", "IssuedWebhook")},
            problems=("not-found", "invalid"),
        ),
        "webhooks.ping": Operation(
            id="pingWebhook",
            summary="Have a ping delivered",
            text="Also to a webhook that is disabled.",
            answers={202: answer("The id of the delivery", "WantedDelivery")},
            problems=("not-found", "invalid"),
        ),
        "webhooks.deliveries": Operation(
            id="listDeliveries",
            summary="List the last tries to deliver to a webhook, newest first",
            query=("limit", "cursor"),
            answers={200: page("Delivery")},
            problems=("not-found", "invalid"),
        ),
        "webhooks.redeliver": Operation(
            id="redeliver",
            summary="Have an event delivered once more, under its id",
            answers={202: answer("The id of the delivery", "WantedDelivery")},
            problems=("not-found", "invalid"),
        ),
    },
)
