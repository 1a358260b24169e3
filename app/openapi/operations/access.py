"""Who one is, tokens, and the policy."""

from app.access.audit import AuditSchema
from app.openapi import examples
from app.openapi.operation import JSON, Answer, Body, Family, Link, Operation, answer, nothing, page, schema
from app.openapi.parameters import IN_AUDIT
from app.openapi.values import TEXT

FAMILY = Family(
    "Access",
    "Who one is, tokens, and the policy: docs/access.md says who may do what.",
    {
        "tokens.me": Operation(
            id="getMe",
            summary="Show who one is, and what one may do",
            answers={200: answer("Who sent the token", "Me")},
        ),
        "limits.show": Operation(
            id="getLimits",
            summary="Show every limit that a request can meet, and how far one has come",
            answers={200: answer("Limits of the deployment, and quotas of the caller", "Limits")},
        ),
        "tokens.create": Operation(
            id="createToken",
            summary="Make a token",
            text="Only this answer has the secret. Admins make tokens for everybody; others for themselves, with a"
            " token that is not limited.",
            body=Body(
                "NewToken",
                {
                    "an agent": {"principal": "agent:fixer-12"},
                    "limited": {
                        "principal": "ci:docs",
                        "name": "builds the docs",
                        "role": "reader",
                        "paths": ["docs/"],
                        "expires": "2099-01-01T00:00:00Z",
                    },
                },
            ),
            answers={
                201: answer(
                    "The token, with its secret",
                    "IssuedToken",
                    links={"revoke": Link("revokeToken", {"token_id": "$response.body#/id"})},
                )
            },
            problems=("forbidden", "conflict", "no-root-token", "invalid"),
        ),
        "tokens.listing": Operation(
            id="listTokens",
            summary="List the tokens that are not revoked",
            text="In the order in which they were made: all of them for an admin, else one's own.",
            query=("limit", "cursor"),
            answers={200: page("Token")},
            problems=("invalid",),
        ),
        "tokens.revoke": Operation(
            id="revokeToken",
            summary="End a token",
            text="Within a second it is refused, and the streams and long polls that it began are ended.",
            query=("with_made",),
            answers={
                204: nothing("It is revoked"),
                200: answer("With `with_made`: it is revoked, and these", "RevokedTokens"),
            },
            problems=("forbidden", "not-found", "invalid"),
            path={"token_id": examples.TOKEN},
        ),
        "policy.show": Operation(
            id="getPolicy",
            summary="Show the policy",
            answers={200: answer("The policy, with its version as `ETag`", "Policy", "ETag")},
        ),
        "policy.replace": Operation(
            id="replacePolicy",
            summary="Put another policy in the place of the one that If-Match names",
            text="If it is that one already, nothing is changed.",
            query=("dry_run",),
            headers=("If-Match",),
            body=Body(
                "NewPolicy",
                {
                    "a team": {
                        "groups": {"docs": ["user:ada", "user:bob"]},
                        "grants": [
                            {"to": "user:ada", "role": "admin", "path": "/"},
                            {"to": "group:docs", "role": "writer", "path": "docs/"},
                            {"to": "everyone", "role": "reader", "path": "README.md"},
                        ],
                        "identities": [
                            {
                                "issuer": "https://token.actions.githubusercontent.com",
                                "claims": {"repository": "acme/docs", "ref": "refs/heads/main"},
                                "principal": "ci:docs",
                            }
                        ],
                        "quotas": {"group:docs": {"requests_per_second": 20, "queued": 500}},
                        "people": {"user:ada": {"name": "Ada", "emails": ["ada@example.org"]}},
                    }
                },
            ),
            answers={
                200: Answer(
                    "The policy with its new version; with `dry_run`, what it would change",
                    {JSON: {"anyOf": [schema("Policy"), schema("PolicyChanges")]}},
                    ("ETag",),
                )
            },
            problems=("no-root-token", "precondition-failed", "precondition-required", "invalid"),
        ),
        "audit.listing": Operation(
            id="listAudit",
            summary="List what was done, by whom, and from where",
            text="Newest first. A page may be empty and have a `next`. `through` is where a list in the order `oldest`"
            " has ended, to be given as `after` later.",
            query=("limit", "cursor", "actor", "action", "token_id", "slice", "changeset", "since", "until", "order",
                   "after"),
            arguments=AuditSchema,
            meanings=IN_AUDIT,
            answers={200: page("Act", more={"through": TEXT})},
            problems=("not-found", "invalid"),
        ),
    },
)  # fmt: skip
