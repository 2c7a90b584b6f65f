-- +goose Up

-- An event is about a payment, or about an endpoint (endpoint.disabled, endpoint.test). What it is about orders it:
-- sequences count per subject, and the subject is the outbox's key.
ALTER TABLE events
    ADD COLUMN subject_id uuid,
    ADD COLUMN endpoint_id uuid, -- the only endpoint that is told; NULL: all that subscribe
    ALTER COLUMN transaction_id DROP NOT NULL;
UPDATE events SET subject_id = transaction_id;
ALTER TABLE events
    ALTER COLUMN subject_id SET NOT NULL,
    DROP CONSTRAINT events_transaction_id_sequence_key,
    ADD CONSTRAINT events_subject_sequence_key UNIQUE (subject_id, sequence),
    ADD CHECK (transaction_id IS NULL OR transaction_id = subject_id);
CREATE INDEX events_transaction ON events (transaction_id, sequence) WHERE transaction_id IS NOT NULL;

ALTER TABLE webhook_endpoints
    ADD COLUMN api_version text NOT NULL DEFAULT '2026-11-01', -- of the payloads; pinned when the endpoint was made
    ADD COLUMN payload text NOT NULL DEFAULT 'full' CHECK (payload IN ('full', 'thin')),
    ADD COLUMN ordered boolean NOT NULL DEFAULT false, -- later events of a subject wait for the earlier ones
    ADD COLUMN signature text NOT NULL DEFAULT 'v1' CHECK (signature IN ('v1', 'v1a')),
    ADD COLUMN headers bytea,     -- the merchant's own, sealed: they may hold a password
    ADD COLUMN rate_limit int NOT NULL DEFAULT 100 CHECK (rate_limit BETWEEN 1 AND 500),      -- attempts/s
    ADD COLUMN max_in_flight int NOT NULL DEFAULT 20 CHECK (max_in_flight BETWEEN 1 AND 100), -- attempts at a time
    ADD COLUMN deleted_at timestamptz,
    ADD COLUMN disabled_at timestamptz,
    ADD COLUMN disabled_by text CHECK (disabled_by IN ('merchant', 'operator', 'gone', 'failing')),
    ADD COLUMN event_sequence bigint NOT NULL DEFAULT 0, -- of the events about the endpoint
    -- How it answers. All of it is NULL or 0 while it answers well, so that a healthy endpoint's row is not written to.
    ADD COLUMN failing_since timestamptz, -- the first failure after the last success
    ADD COLUMN failures int NOT NULL DEFAULT 0, -- real attempts since, in a row
    ADD COLUMN open_until timestamptz,    -- the circuit is open; past it, one attempt may find out
    ADD COLUMN probe_at timestamptz,      -- when the sweep has it tried with something it missed
    -- The rate limit's theoretical arrival time (GCRA): when the next attempt would be on time.
    ADD COLUMN next_slot_at timestamptz;
UPDATE webhook_endpoints SET disabled_at = updated_at, disabled_by = 'gone' WHERE NOT enabled;
ALTER TABLE webhook_endpoints
    ADD CHECK (enabled = (disabled_at IS NULL)),
    ADD CHECK (enabled = (disabled_by IS NULL)),
    ADD CHECK (deleted_at IS NULL OR NOT enabled);
CREATE INDEX webhook_endpoints_probe ON webhook_endpoints (probe_at) WHERE probe_at IS NOT NULL;

-- A replay delivers again, or at last, what an endpoint missed: by request, after it was enabled again, or by itself
-- when it answers again. It goes through the deliveries in order and at the endpoint's pace.
CREATE TABLE webhook_replays (
    id           uuid PRIMARY KEY,
    endpoint_id  uuid NOT NULL REFERENCES webhook_endpoints,
    merchant_id  uuid NOT NULL,
    reason       text NOT NULL CHECK (reason IN ('requested', 'recovered', 'enabled')),
    since        timestamptz NOT NULL, -- of the events
    until        timestamptz NOT NULL,
    event_types  text[] NOT NULL, -- empty: all
    delivered    boolean NOT NULL, -- what was delivered, too
    state        text NOT NULL CHECK (state IN ('collecting', 'running', 'done', 'canceled')),
    collected_to uuid,  -- the last event that was looked at
    total        int NOT NULL,
    turn         int NOT NULL, -- of working on it; part of the task's name
    turn_at      timestamptz NOT NULL, -- when the next is due, while open
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    finished_at  timestamptz,
    CHECK ((state IN ('done', 'canceled')) = (finished_at IS NOT NULL))
);
CREATE INDEX webhook_replays_open ON webhook_replays (turn_at) WHERE state IN ('collecting', 'running');
CREATE INDEX webhook_replays_endpoint ON webhook_replays (endpoint_id, created_at DESC);
CREATE INDEX webhook_replays_merchant ON webhook_replays (merchant_id, created_at DESC, id DESC);

-- HELD waits: for an earlier event of its subject, or for its turn in a replay.
ALTER TABLE webhook_deliveries
    ALTER COLUMN transaction_id DROP NOT NULL,
    ADD COLUMN subject_id uuid,
    ADD COLUMN sequence bigint,
    ADD COLUMN event_created_at timestamptz,
    ADD COLUMN api_version text NOT NULL DEFAULT '2026-11-01', -- as the endpoint's was: every attempt sends the same bytes
    ADD COLUMN payload text NOT NULL DEFAULT 'full' CHECK (payload IN ('full', 'thin')),
    ADD COLUMN series_start int NOT NULL DEFAULT 0, -- attempts made before the schedule began anew
    ADD COLUMN tried_at timestamptz, -- the first attempt since
    ADD COLUMN slot boolean NOT NULL DEFAULT false, -- its next attempt has its place within the rate limit already
    ADD COLUMN delivered_at timestamptz, -- first
    ADD COLUMN replay_id uuid REFERENCES webhook_replays, -- the last one that took it
    DROP CONSTRAINT webhook_deliveries_status_check,
    ADD CONSTRAINT webhook_deliveries_status_check
        CHECK (status IN ('PENDING', 'HELD', 'DELIVERED', 'EXHAUSTED', 'ABANDONED'));
UPDATE webhook_deliveries d
SET subject_id = e.subject_id, sequence = e.sequence, event_created_at = e.created_at,
    delivered_at = CASE WHEN d.status = 'DELIVERED' THEN d.last_attempt_at END
FROM events e WHERE e.id = d.event_id;
ALTER TABLE webhook_deliveries
    ALTER COLUMN subject_id SET NOT NULL,
    ALTER COLUMN sequence SET NOT NULL,
    ALTER COLUMN event_created_at SET NOT NULL,
    ADD CHECK (status <> 'DELIVERED' OR delivered_at IS NOT NULL);
-- The line of a subject at an endpoint: its head goes, the others wait.
CREATE INDEX webhook_deliveries_line ON webhook_deliveries (webhook_id, subject_id, sequence)
    WHERE status IN ('PENDING', 'HELD');
CREATE INDEX webhook_deliveries_before ON webhook_deliveries (webhook_id, subject_id, sequence)
    WHERE status IN ('EXHAUSTED', 'ABANDONED') AND delivered_at IS NULL;
CREATE INDEX webhook_deliveries_replay ON webhook_deliveries (replay_id, event_id) WHERE replay_id IS NOT NULL;
CREATE INDEX webhook_deliveries_replay_open ON webhook_deliveries (replay_id, event_id) WHERE status IN ('PENDING', 'HELD');
CREATE INDEX webhook_deliveries_held ON webhook_deliveries (updated_at) WHERE status = 'HELD';
CREATE INDEX webhook_deliveries_leased ON webhook_deliveries (webhook_id, lease_until) WHERE lease_token IS NOT NULL;
-- What an endpoint never got, and its whole list, by the event's time.
CREATE INDEX webhook_deliveries_undelivered ON webhook_deliveries (webhook_id, event_created_at, event_id)
    WHERE delivered_at IS NULL;
CREATE INDEX webhook_deliveries_endpoint ON webhook_deliveries (webhook_id, event_created_at, event_id);
DROP INDEX webhook_deliveries_given_up;
CREATE INDEX webhook_deliveries_given_up ON webhook_deliveries (webhook_id, event_created_at, event_id)
    WHERE status = 'EXHAUSTED';
DROP INDEX webhook_deliveries_merchant;
CREATE INDEX webhook_deliveries_merchant ON webhook_deliveries (merchant_id, id DESC);

ALTER TABLE webhook_delivery_logs
    ADD COLUMN replay_id uuid; -- the attempt was made for it

GRANT SELECT, INSERT, UPDATE ON webhook_replays TO tollgate_function;
GRANT UPDATE, DELETE ON webhook_endpoint_secrets TO tollgate_function;
