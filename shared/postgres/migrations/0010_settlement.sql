-- +goose Up

-- When a merchant's business day ends: at the cut-off, by the clock on the wall where the merchant is.
ALTER TABLE merchants
    ADD COLUMN timezone text NOT NULL DEFAULT 'Asia/Tokyo',
    ADD COLUMN settlement_cutoff time NOT NULL DEFAULT '00:00'
        CHECK (settlement_cutoff < '24:00' AND extract(second FROM settlement_cutoff) = 0);

-- A batch job's run for a date: what it is at, so that another can take over there, and how it ended.
CREATE TABLE batch_job_executions (
    id               uuid PRIMARY KEY,
    kind             text NOT NULL CHECK (kind IN ('settlement')),
    run_date         date NOT NULL,
    status           text NOT NULL CHECK (status IN ('RUNNING', 'SUCCEEDED', 'FAILED')),
    scheduled_for    timestamptz NOT NULL, -- what was posted after it is none of the run's
    attempt          int NOT NULL CHECK (attempt >= 1), -- times it was begun or taken over
    -- Whoever has the token carries the run on; a takeover changes it, which fences the former holder.
    lease_token      uuid,
    lease_until      timestamptz,
    step             int NOT NULL CHECK (step >= 0), -- counts what was committed; part of the next task's name
    try              int NOT NULL CHECK (try >= 0),  -- of the step, from 0
    due_at           timestamptz, -- of the next task
    checkpoint       jsonb NOT NULL,
    warnings         jsonb NOT NULL, -- of the checks before it began
    -- What it came to, when it ended: frozen, settled and skipped. Sums are net minor units by currency.
    expected_payments bigint NOT NULL CHECK (expected_payments >= 0),
    settled_payments bigint NOT NULL CHECK (settled_payments >= 0),
    skipped_payments bigint NOT NULL CHECK (skipped_payments >= 0),
    expected_sums    jsonb NOT NULL,
    settled_sums     jsonb NOT NULL,
    skipped_sums     jsonb NOT NULL,
    started_at       timestamptz NOT NULL,
    finished_at      timestamptz,
    last_error       text,
    UNIQUE (kind, run_date),
    CHECK ((status = 'RUNNING') = (lease_token IS NOT NULL)),
    CHECK ((status = 'RUNNING') = (lease_until IS NOT NULL)),
    CHECK ((status = 'RUNNING') = (due_at IS NOT NULL)),
    CHECK ((status = 'RUNNING') = (finished_at IS NULL)),
    CHECK (status <> 'SUCCEEDED' OR settled_payments + skipped_payments = expected_payments)
);
CREATE INDEX batch_job_executions_unfinished ON batch_job_executions (run_date) WHERE status <> 'SUCCEEDED';

-- What a run left out, so that the rest could go on.
CREATE TABLE batch_execution_errors (
    id               uuid PRIMARY KEY,
    job_execution_id uuid NOT NULL REFERENCES batch_job_executions,
    transaction_id   uuid NOT NULL,
    error_type       text NOT NULL, -- an SQLSTATE, or what kind of mistake it is
    error_message    text NOT NULL,
    retry_count      int NOT NULL CHECK (retry_count >= 0), -- runs that had left it out before
    created_at       timestamptz NOT NULL
);
CREATE INDEX batch_execution_errors_job ON batch_execution_errors (job_execution_id, id);
CREATE INDEX batch_execution_errors_transaction ON batch_execution_errors (transaction_id);

-- What a merchant is paid of a business day in one currency. Amounts are before signs:
-- what was captured, less what was refunded, kept as fees and taken by disputes, is the net.
CREATE TABLE settlements (
    id                 uuid PRIMARY KEY,
    job_execution_id   uuid NOT NULL REFERENCES batch_job_executions,
    merchant_id        uuid NOT NULL REFERENCES merchants,
    currency           text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    business_date      date NOT NULL,
    cutoff_at          timestamptz NOT NULL, -- entries posted before it, and in no settlement yet
    timezone           text NOT NULL,
    status             text NOT NULL CHECK (status IN ('PROCESSING', 'COMPLETED')),
    captured_minor     bigint NOT NULL,
    refunded_minor     bigint NOT NULL,
    fee_minor          bigint NOT NULL,
    dispute_minor      bigint NOT NULL,
    adjustment_minor   bigint NOT NULL, -- what a human corrected; positive is the merchant's
    net_minor          bigint NOT NULL,
    line_count         int NOT NULL CHECK (line_count >= 0),
    payment_count      int NOT NULL CHECK (payment_count >= 0),
    -- As it was frozen, and what was skipped of that.
    frozen_net_minor   bigint NOT NULL,
    frozen_lines       int NOT NULL CHECK (frozen_lines >= 1),
    frozen_payments    int NOT NULL CHECK (frozen_payments >= 0),
    skipped_net_minor  bigint NOT NULL,
    skipped_lines      int NOT NULL CHECK (skipped_lines >= 0),
    skipped_payments   int NOT NULL CHECK (skipped_payments >= 0),
    settled_payments   int NOT NULL CHECK (settled_payments >= 0),
    settled_to         uuid, -- the checkpoint: the last payment of the last chunk
    posting_ids        uuid[] NOT NULL, -- of the ledger, one per provider
    manifest_sha256    bytea CHECK (octet_length(manifest_sha256) = 32),
    created_at         timestamptz NOT NULL,
    completed_at       timestamptz,
    UNIQUE (merchant_id, currency, business_date),
    CHECK (net_minor = captured_minor - refunded_minor - fee_minor - dispute_minor + adjustment_minor),
    CHECK ((status = 'COMPLETED') = (completed_at IS NOT NULL)),
    CHECK ((status = 'COMPLETED') = (manifest_sha256 IS NOT NULL)),
    -- Settled is what was frozen and not skipped, to the payment, the line and the minor unit.
    CHECK (status <> 'COMPLETED' OR settled_payments = payment_count),
    CHECK (status <> 'COMPLETED' OR payment_count + skipped_payments = frozen_payments),
    CHECK (status <> 'COMPLETED' OR line_count + skipped_lines = frozen_lines),
    CHECK (status <> 'COMPLETED' OR net_minor + skipped_net_minor = frozen_net_minor)
);
CREATE INDEX settlements_job ON settlements (job_execution_id, id);
CREATE INDEX settlements_open ON settlements (job_execution_id, id) WHERE status = 'PROCESSING';
CREATE INDEX settlements_merchant ON settlements (merchant_id, id DESC);

-- The ledger entries that a settlement pays. An entry is in one settlement, for ever.
CREATE TABLE settlement_lines (
    settlement_id  uuid NOT NULL REFERENCES settlements,
    number         int NOT NULL CHECK (number >= 1), -- by payment and time
    posting_id     uuid NOT NULL,
    line           smallint NOT NULL,
    transaction_id uuid,
    provider       text NOT NULL,
    kind           text NOT NULL,
    amount_minor   bigint NOT NULL, -- as the merchant sees it: a capture is positive, a fee negative
    posted_at      timestamptz NOT NULL,
    PRIMARY KEY (settlement_id, number),
    UNIQUE (posting_id, line)
);
CREATE INDEX settlement_lines_chunk ON settlement_lines (settlement_id, transaction_id);
CREATE INDEX settlement_lines_transaction ON settlement_lines (transaction_id);

-- What was settled stays as it is.
-- +goose StatementBegin
CREATE FUNCTION settlements_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.status = 'COMPLETED' THEN
        RAISE EXCEPTION 'settlement % is completed', OLD.id USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION settlement_lines_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM (SELECT DISTINCT settlement_id FROM changed) c
               JOIN settlements s ON s.id = c.settlement_id AND s.status = 'COMPLETED') THEN
        RAISE EXCEPTION '% of lines of a completed settlement is refused', TG_OP USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER settlements_completed BEFORE UPDATE OR DELETE ON settlements
    FOR EACH ROW EXECUTE FUNCTION settlements_guard();
CREATE TRIGGER settlement_lines_added AFTER INSERT ON settlement_lines
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION settlement_lines_guard();
CREATE TRIGGER settlement_lines_removed AFTER DELETE ON settlement_lines
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION settlement_lines_guard();
CREATE TRIGGER settlement_lines_unchanged BEFORE UPDATE OR TRUNCATE ON settlement_lines
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What a person must look at, beside what is logged and measured: with what to ask the database.
CREATE TABLE operator_alerts (
    id          uuid PRIMARY KEY,
    kind        text NOT NULL, -- settlement_failed, settlement_skipped, …
    subject     text NOT NULL, -- what it is about, such as a run's date
    severity    text NOT NULL CHECK (severity IN ('warning', 'critical')),
    detail      jsonb NOT NULL,
    times       int NOT NULL CHECK (times >= 1), -- that it was raised while open
    opened_at   timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    resolved_at timestamptz
);
CREATE UNIQUE INDEX operator_alerts_open ON operator_alerts (kind, subject) WHERE resolved_at IS NULL;
CREATE INDEX operator_alerts_opened ON operator_alerts (opened_at DESC);

GRANT SELECT, INSERT, UPDATE ON batch_job_executions, settlements, operator_alerts TO tollgate_function;
GRANT SELECT, INSERT ON batch_execution_errors TO tollgate_function;
GRANT SELECT, INSERT, DELETE ON settlement_lines TO tollgate_function;
