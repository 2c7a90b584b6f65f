-- +goose Up

-- What merchants say of payments and refunds in words of their own, which may be about a person: description, metadata
-- and return_url, or a refund's reason. The payment's or refund's row and the audit log hold the key alone, so that
-- the words can be deleted and the log, which can't be changed, still gives the row back.
CREATE TABLE personal_data (
    id             uuid PRIMARY KEY,
    merchant_id    uuid NOT NULL REFERENCES merchants,
    transaction_id uuid NOT NULL REFERENCES transactions, -- the payment, also of its refunds
    data           jsonb NOT NULL CHECK (jsonb_typeof(data) = 'object'),
    created_at     timestamptz NOT NULL
);
CREATE INDEX personal_data_transaction ON personal_data (transaction_id);

-- The old columns stay for the release before this one, which writes them while a deployment rolls; nothing reads
-- them any more.
ALTER TABLE transactions
    ADD COLUMN personal_data_id uuid, -- no reference: what it points at may be gone
    ALTER COLUMN metadata DROP NOT NULL;
ALTER TABLE refunds ADD COLUMN personal_data_id uuid;

-- What there is moves there, under the key of its payment or refund, and out of the log. This is the one time that
-- the log is rewritten: from the first seal on it can't be without being found out.
ALTER TABLE transactions DISABLE TRIGGER USER;
ALTER TABLE refunds DISABLE TRIGGER USER;
ALTER TABLE transaction_audit_log DISABLE TRIGGER USER;
INSERT INTO personal_data (id, merchant_id, transaction_id, data, created_at)
SELECT id, merchant_id, id,
       jsonb_strip_nulls(jsonb_build_object('description', description, 'metadata', nullif(metadata, '{}'), 'return_url', return_url)),
       created_at
FROM transactions
WHERE description IS NOT NULL OR metadata <> '{}' OR return_url IS NOT NULL;
INSERT INTO personal_data (id, merchant_id, transaction_id, data, created_at)
SELECT id, merchant_id, transaction_id, jsonb_build_object('reason', reason), created_at
FROM refunds WHERE reason IS NOT NULL;
UPDATE transaction_audit_log l
SET delta = l.delta - ARRAY['description', 'metadata', 'return_url', 'reason'] || CASE
        WHEN EXISTS (SELECT 1 FROM personal_data p WHERE p.id = l.object_id) THEN jsonb_build_object('personal_data_id', l.object_id)
        ELSE '{}' END
WHERE l.kind = 'change' AND l.version = 1;
UPDATE transactions t
SET description = NULL, metadata = NULL, return_url = NULL, personal_data_id = (SELECT id FROM personal_data p WHERE p.id = t.id);
UPDATE refunds r
SET reason = NULL, personal_data_id = r.id
WHERE reason IS NOT NULL;
ALTER TABLE transactions ENABLE TRIGGER USER;
ALTER TABLE refunds ENABLE TRIGGER USER;
ALTER TABLE transaction_audit_log ENABLE TRIGGER USER;

-- The log of one merchant, by time: what a period holds is read in this order, and sealed in it.
CREATE INDEX transaction_audit_log_merchant ON transaction_audit_log (merchant_id, at);

-- A seal fixes some rows of a merchant's log: the hash over them and over the seal before. A copy with the hash of each
-- row lies outside the database, so who rewrites the log here is found out, and which rows.
CREATE TABLE audit_seals (
    merchant_id uuid NOT NULL,
    number      bigint NOT NULL CHECK (number >= 1), -- of the merchant's seals, without gaps
    since       timestamptz, -- of the closed period that the rows are of; NULL: it is the first
    until       timestamptz NOT NULL REFERENCES closed_periods,
    row_count   int NOT NULL CHECK (row_count >= 1),
    previous    bytea NOT NULL CHECK (octet_length(previous) = 32), -- head of the seal before; zeros before the first
    head        bytea NOT NULL CHECK (octet_length(head) = 32),
    sealed_at   timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, number),
    CHECK (since < until)
);
CREATE TRIGGER audit_seals_append_only BEFORE UPDATE OR DELETE ON audit_seals
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_seals_no_truncate BEFORE TRUNCATE ON audit_seals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A pass verifies everything there is: seals by merchant, then payments by id. It goes on over as many runs as it takes.
CREATE TABLE audit_passes (
    id          uuid PRIMARY KEY,
    stage       text NOT NULL CHECK (stage IN ('seals', 'fold', 'done')),
    reached     uuid, -- the last merchant, or payment, that is verified
    partial     jsonb NOT NULL, -- of the merchants after it: the seal to go on with, or -1 when they are done
    merchants   bigint NOT NULL CHECK (merchants >= 0),
    seals       bigint NOT NULL CHECK (seals >= 0),
    rows        bigint NOT NULL CHECK (rows >= 0),     -- of the log, held against their seals
    payments    bigint NOT NULL CHECK (payments >= 0), -- held against their log
    findings    bigint NOT NULL CHECK (findings >= 0),
    started_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    finished_at timestamptz,
    CHECK ((stage = 'done') = (finished_at IS NOT NULL))
);
CREATE UNIQUE INDEX audit_passes_one_open ON audit_passes ((true)) WHERE finished_at IS NULL;
CREATE INDEX audit_passes_finished ON audit_passes (finished_at) WHERE finished_at IS NOT NULL;

GRANT SELECT, INSERT ON personal_data, audit_seals TO tollgate_function;
GRANT SELECT, INSERT, UPDATE ON audit_passes TO tollgate_function;
