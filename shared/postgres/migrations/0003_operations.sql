-- +goose Up

-- The key, its fingerprint and the payment it made never expire, so an old key never
-- charges again. Only the response's bytes may: then the answer is rebuilt.
CREATE TABLE idempotency_keys (
    merchant_id     uuid NOT NULL REFERENCES merchants,
    key             text NOT NULL CHECK (length(key) BETWEEN 16 AND 255),
    fingerprint     bytea NOT NULL CHECK (octet_length(fingerprint) = 32), -- SHA-256 of method, path, raw body
    path            text NOT NULL,
    saga_id         uuid NOT NULL UNIQUE,
    transaction_id  uuid NOT NULL REFERENCES transactions DEFERRABLE INITIALLY DEFERRED,
    refund_id       uuid,
    response_status int,
    response_body   bytea, -- bytes, not jsonb: a repeat gets them again to the byte
    created_at      timestamptz NOT NULL,
    completed_at    timestamptz,
    PRIMARY KEY (merchant_id, key),
    CHECK ((completed_at IS NULL) = (response_status IS NULL))
);
CREATE INDEX idempotency_keys_stored_body ON idempotency_keys (completed_at) WHERE response_body IS NOT NULL;

CREATE TABLE transaction_saga (
    id             uuid PRIMARY KEY,
    transaction_id uuid NOT NULL REFERENCES transactions,
    merchant_id    uuid NOT NULL,
    refund_id      uuid,
    kind           text NOT NULL CHECK (kind IN ('authorize', 'capture', 'void', 'refund')),
    state          text NOT NULL CHECK (state IN
                     ('leased', 'scheduled', 'awaiting_payer', 'awaiting_provider', 'unknown', 'done')),
    provider       text NOT NULL,
    amount_minor   bigint NOT NULL CHECK (amount_minor >= 0),
    lease_token    uuid,
    lease_until    timestamptz,
    due_at         timestamptz, -- when a task or the sweep should carry it on
    tries          int NOT NULL CHECK (tries >= 0), -- times it was carried on, for the backoff
    task_made_at   timestamptz, -- when the sweep last made a task for it
    outcome        text, -- how it ended: approved, declined, rejected, superseded, expired, not_charged, …
    rule           text, -- by which rule of the resolver that was proven, if it was ever unknown
    evidence_id    uuid, -- the provider response that proves it
    request_id     text NOT NULL,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    CHECK ((state = 'leased') = (lease_token IS NOT NULL)),
    CHECK ((state = 'leased') = (lease_until IS NOT NULL)),
    CHECK ((state = 'done') = (outcome IS NOT NULL)),
    CHECK ((kind = 'refund') = (refund_id IS NOT NULL))
);
CREATE INDEX transaction_saga_transaction ON transaction_saga (transaction_id);
CREATE UNIQUE INDEX transaction_saga_one_open ON transaction_saga (transaction_id)
    WHERE state <> 'done' AND kind IN ('authorize', 'capture', 'void');
CREATE INDEX transaction_saga_due ON transaction_saga (coalesce(lease_until, due_at)) WHERE state <> 'done';

-- One row per request that may go to a provider, committed before its first byte leaves.
CREATE TABLE saga_attempts (
    saga_id        uuid NOT NULL REFERENCES transaction_saga,
    number         int NOT NULL CHECK (number >= 1),
    transaction_id uuid NOT NULL,
    step           text NOT NULL CHECK (step IN ('authorize', 'capture', 'void', 'refund')),
    provider       text NOT NULL,
    account        text NOT NULL,
    provider_key   text NOT NULL UNIQUE, -- derived from saga, step and number
    request        jsonb NOT NULL, -- the exact request, so that a replay equals it
    unsent         boolean NOT NULL, -- true while it is proven that no byte left
    sent_at        timestamptz NOT NULL, -- when it was first sent, or may have been: the key's window runs from here
    outcome        text,
    created_at     timestamptz NOT NULL,
    closed_at      timestamptz,
    PRIMARY KEY (saga_id, number)
);

-- What providers answered, masked: the raw evidence behind every outcome.
CREATE TABLE provider_responses (
    id                  uuid PRIMARY KEY,
    transaction_id      uuid NOT NULL,
    saga_id             uuid,
    obligation_id       uuid,
    provider            text NOT NULL,
    operation           text NOT NULL, -- authorize, capture, void, refund, lookup
    provider_key        text,
    outcome             text NOT NULL,
    http_status         int,
    provider_request_id text,
    body                text,
    error               text,
    duration_ms         bigint NOT NULL,
    created_at          timestamptz NOT NULL
);
CREATE INDEX provider_responses_transaction ON provider_responses (transaction_id, created_at);

-- What providers said of their objects, once per (object, transition): the memory by which
-- a fact applied twice changes nothing and an older one never overwrites a newer one.
CREATE TABLE provider_facts (
    provider       text NOT NULL,
    object_id      text NOT NULL,
    state          text NOT NULL,
    transaction_id uuid NOT NULL REFERENCES transactions,
    kind           text NOT NULL CHECK (kind IN ('authorization', 'capture', 'refund', 'dispute')),
    refund_id      uuid,
    rank           int NOT NULL, -- a higher rank of one object is the newer state
    amount_minor   bigint NOT NULL,
    currency       text NOT NULL,
    effect         text NOT NULL, -- 'applied', or why it changed nothing: 'stale', 'mismatch', 'obligation', …
    source         text NOT NULL, -- call, replay, lookup, webhook, settlement
    evidence_id    uuid NOT NULL, -- provider_responses.id or webhook_events.id
    occurred_at    timestamptz NOT NULL,
    recorded_at    timestamptz NOT NULL,
    PRIMARY KEY (provider, object_id, state)
);
CREATE INDEX provider_facts_transaction ON provider_facts (transaction_id);

-- Money or authorizations that lost their purpose, to be released and proven released.
CREATE TABLE obligations (
    id             uuid PRIMARY KEY,
    transaction_id uuid NOT NULL REFERENCES transactions,
    merchant_id    uuid NOT NULL,
    provider       text NOT NULL,
    account        text NOT NULL,
    reference      text NOT NULL, -- the provider's payment object
    kind           text NOT NULL CHECK (kind IN ('void', 'refund')),
    amount_minor   bigint NOT NULL CHECK (amount_minor >= 0), -- to refund; 0 for a void
    currency       text NOT NULL,
    reason         text NOT NULL,
    state          text NOT NULL CHECK (state IN ('open', 'done')),
    tries          int NOT NULL,
    due_at         timestamptz, -- also the lease: while a worker tries, it is not due
    attempt        int NOT NULL, -- the attempt that may have been sent; 0 before the first
    request        jsonb, -- exactly what it asks
    sent_at        timestamptz,
    proof_id       uuid, -- the provider response or event that proves it done
    opened_at      timestamptz NOT NULL,
    closed_at      timestamptz,
    UNIQUE (provider, reference, kind),
    CHECK ((state = 'done') = (closed_at IS NOT NULL)),
    CHECK ((state = 'open') = (due_at IS NOT NULL))
);
CREATE INDEX obligations_open ON obligations (due_at) WHERE state = 'open';
CREATE INDEX obligations_transaction ON obligations (transaction_id);

-- Assertions for pipelined transactions: one round trip carries check and writes, and a
-- failed check aborts them all. SQLSTATE class TG is Tollgate's own.
-- +goose StatementBegin
CREATE FUNCTION expect_key(p_merchant uuid, p_key text, p_saga uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM idempotency_keys WHERE merchant_id = p_merchant AND key = p_key AND saga_id = p_saga;
    IF NOT FOUND THEN RAISE EXCEPTION 'the idempotency key is taken' USING ERRCODE = 'TG001'; END IF;
END $$;
CREATE FUNCTION expect_version(p_payment uuid, p_version bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM transactions WHERE id = p_payment AND version = p_version FOR NO KEY UPDATE;
    IF NOT FOUND THEN RAISE EXCEPTION 'the payment has moved on' USING ERRCODE = 'TG002'; END IF;
END $$;
CREATE FUNCTION expect_lease(p_saga uuid, p_token uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM transaction_saga WHERE id = p_saga AND lease_token = p_token FOR NO KEY UPDATE;
    IF NOT FOUND THEN RAISE EXCEPTION 'the lease is lost' USING ERRCODE = 'TG003'; END IF;
END $$;
-- +goose StatementEnd
