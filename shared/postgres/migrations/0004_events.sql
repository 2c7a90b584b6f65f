-- +goose Up

-- What providers sent us, raw and before any judgement, once per event.
CREATE TABLE webhook_events (
    id              uuid PRIMARY KEY,
    provider        text NOT NULL,
    account         text NOT NULL,
    event_id        text NOT NULL,
    type            text NOT NULL,
    object_id       text NOT NULL,
    transaction_id  uuid, -- our payment, if the event names it
    body            bytea NOT NULL,
    state           text NOT NULL CHECK (state IN ('stored', 'parked', 'applied', 'ignored')),
    reason          text, -- why it is parked or was ignored, or what it changed
    tries           int NOT NULL,
    due_at          timestamptz, -- when the sweep publishes it again
    request_id      text NOT NULL,
    received_at     timestamptz NOT NULL,
    finished_at     timestamptz,
    UNIQUE (provider, event_id),
    CHECK ((state IN ('applied', 'ignored')) = (finished_at IS NOT NULL)),
    CHECK ((state IN ('stored', 'parked')) = (due_at IS NOT NULL))
);
CREATE INDEX webhook_events_due ON webhook_events (due_at) WHERE state IN ('stored', 'parked');
CREATE INDEX webhook_events_transaction ON webhook_events (transaction_id);

-- What merchants are told. The payload's bytes are fixed here, so every retry sends the same.
CREATE TABLE events (
    id             uuid PRIMARY KEY,
    merchant_id    uuid NOT NULL REFERENCES merchants,
    transaction_id uuid NOT NULL REFERENCES transactions,
    type           text NOT NULL,
    sequence       bigint NOT NULL CHECK (sequence >= 1), -- per payment, without gaps
    payload        bytea NOT NULL,
    request_id     text NOT NULL,
    created_at     timestamptz NOT NULL,
    UNIQUE (transaction_id, sequence)
);
CREATE INDEX events_merchant ON events (merchant_id, created_at DESC, id DESC);

-- What is still to be published to payment-events; id is the event's.
CREATE TABLE outbox (
    id            uuid PRIMARY KEY REFERENCES events,
    key           uuid NOT NULL, -- ordering key: the payment
    sequence      bigint NOT NULL,
    tries         int NOT NULL,
    due_at        timestamptz NOT NULL,
    claim_token   uuid,
    claimed_until timestamptz,
    last_error    text,
    created_at    timestamptz NOT NULL,
    published_at  timestamptz
);
CREATE INDEX outbox_unpublished ON outbox (due_at) WHERE published_at IS NULL;
CREATE UNIQUE INDEX outbox_head ON outbox (key, sequence) WHERE published_at IS NULL;

CREATE TABLE webhook_endpoints (
    id          uuid PRIMARY KEY,
    merchant_id uuid NOT NULL REFERENCES merchants,
    url         text NOT NULL CHECK (length(url) <= 2048),
    description text NOT NULL DEFAULT '',
    enabled     boolean NOT NULL,
    disabled_reason text,
    event_types text[] NOT NULL, -- empty: all
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);
CREATE INDEX webhook_endpoints_merchant ON webhook_endpoints (merchant_id);

-- Signing secrets, sealed by a key that the database does not hold. All that have not
-- expired sign, which is how a rotation overlaps.
CREATE TABLE webhook_endpoint_secrets (
    id          uuid PRIMARY KEY,
    endpoint_id uuid NOT NULL REFERENCES webhook_endpoints,
    sealed      bytea NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz
);
CREATE INDEX webhook_endpoint_secrets_endpoint ON webhook_endpoint_secrets (endpoint_id);

-- The state of one event at one endpoint.
CREATE TABLE webhook_deliveries (
    id              uuid PRIMARY KEY,
    event_id        uuid NOT NULL REFERENCES events,
    webhook_id      uuid NOT NULL REFERENCES webhook_endpoints,
    merchant_id     uuid NOT NULL,
    transaction_id  uuid NOT NULL,
    event_type      text NOT NULL,
    status          text NOT NULL CHECK (status IN ('PENDING', 'DELIVERED', 'EXHAUSTED', 'ABANDONED')),
    attempt_count   int NOT NULL CHECK (attempt_count >= 0),
    last_attempt_at timestamptz,
    next_retry_at   timestamptz,
    response_code   int,
    response_body   text,
    lease_token     uuid,
    lease_until     timestamptz,
    task_generation int NOT NULL, -- part of the task's name, so that a lost task can be made again
    request_id      text NOT NULL,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    UNIQUE (event_id, webhook_id),
    CHECK ((status = 'PENDING') = (next_retry_at IS NOT NULL))
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (next_retry_at) WHERE status = 'PENDING';
CREATE INDEX webhook_deliveries_merchant ON webhook_deliveries (merchant_id, created_at DESC);
CREATE INDEX webhook_deliveries_given_up ON webhook_deliveries (webhook_id, updated_at) WHERE status = 'EXHAUSTED';

CREATE TABLE webhook_delivery_logs (
    id              uuid PRIMARY KEY,
    delivery_id     uuid NOT NULL REFERENCES webhook_deliveries,
    webhook_id      uuid NOT NULL,
    attempt         int NOT NULL CHECK (attempt >= 1),
    requested_at    timestamptz NOT NULL,
    duration_ms     bigint NOT NULL,
    outcome         text NOT NULL, -- delivered, or the kind of failure: timeout, refused_address, status_5xx, …
    response_code   int,
    response_body   text,
    error           text,
    UNIQUE (delivery_id, attempt)
);
