-- +goose Up

-- Money that a provider took back because its payer contests the payment. Moved by the
-- provider's facts alone, and kept in the audit log as payments and refunds are.
CREATE TABLE disputes (
    id                  uuid PRIMARY KEY,
    transaction_id      uuid NOT NULL REFERENCES transactions,
    merchant_id         uuid NOT NULL REFERENCES merchants,
    version             bigint NOT NULL CHECK (version >= 1),
    status              text NOT NULL CHECK (status IN ('OPEN', 'WON', 'LOST')),
    previous_status     text CHECK (previous_status IN ('OPEN', 'WON', 'LOST')),
    provider            text NOT NULL,
    provider_dispute_id text NOT NULL,
    currency            text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount_minor        bigint NOT NULL CHECK (amount_minor > 0), -- what the provider took
    -- How much of the amount fits within what was captured and is not refunded; it is part of the
    -- payment's disputed_minor. The rest is a difference for reconciliation to explain.
    counted_minor       bigint NOT NULL CHECK (counted_minor BETWEEN 0 AND amount_minor),
    reason              text, -- in the provider's words
    respond_by          timestamptz, -- as the provider states it
    opened_at           timestamptz NOT NULL, -- the provider's time
    closed_at           timestamptz, -- the provider's time
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,
    CONSTRAINT disputes_provider_dispute UNIQUE (provider, provider_dispute_id),
    CHECK (status <> 'WON' OR counted_minor = 0), -- what was given back is not disputed any more
    CHECK ((status = 'OPEN') = (closed_at IS NULL))
);
CREATE INDEX disputes_transaction ON disputes (transaction_id, created_at);
CREATE INDEX disputes_merchant ON disputes (merchant_id, created_at DESC, id DESC);
CREATE INDEX disputes_merchant_status ON disputes (merchant_id, status, created_at DESC, id DESC);

ALTER TABLE transaction_audit_log
    DROP CONSTRAINT transaction_audit_log_object_check,
    ADD CONSTRAINT transaction_audit_log_object_check CHECK (object IN ('payment', 'refund', 'dispute'));

CREATE CONSTRAINT TRIGGER disputes_audited AFTER INSERT OR UPDATE ON disputes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_audit('dispute');

GRANT SELECT, INSERT, UPDATE ON disputes TO tollgate_function;
