-- +goose Up

CREATE TABLE transactions (
    id                      uuid PRIMARY KEY,
    merchant_id             uuid NOT NULL REFERENCES merchants,
    version                 bigint NOT NULL CHECK (version >= 1),
    event_sequence          bigint NOT NULL CHECK (event_sequence >= 0),
    status                  text NOT NULL CHECK (status IN
                              ('PENDING', 'AUTHORIZED', 'CAPTURED', 'SETTLED', 'REFUNDED', 'FAILED', 'CANCELED')),
    previous_status         text CHECK (previous_status IN
                              ('PENDING', 'AUTHORIZED', 'CAPTURED', 'SETTLED', 'REFUNDED', 'FAILED', 'CANCELED')),
    reconciliation_status   text NOT NULL CHECK (reconciliation_status IN
                              ('SYNCED', 'PENDING_RECONCILIATION', 'MANUAL_REVIEW')),
    currency                text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount_minor            bigint NOT NULL CHECK (amount_minor > 0),
    authorized_minor        bigint NOT NULL CHECK (authorized_minor >= 0),
    captured_minor          bigint NOT NULL CHECK (captured_minor >= 0),
    refund_reserved_minor   bigint NOT NULL CHECK (refund_reserved_minor >= 0),
    refunded_minor          bigint NOT NULL CHECK (refunded_minor >= 0),
    disputed_minor          bigint NOT NULL CHECK (disputed_minor >= 0),
    -- What a provider moved beyond the bounds below. A provider's fact is always
    -- recorded; the excess is a difference for reconciliation to explain.
    capture_excess_minor    bigint NOT NULL CHECK (capture_excess_minor >= 0),
    refund_excess_minor     bigint NOT NULL CHECK (refund_excess_minor >= 0),
    capture_method          text NOT NULL CHECK (capture_method IN ('automatic', 'manual')),
    payment_method          text NOT NULL,
    provider                text NOT NULL,
    provider_account        text NOT NULL,
    provider_transaction_id text,
    merchant_reference      text CHECK (length(merchant_reference) BETWEEN 1 AND 255),
    description             text,
    metadata                jsonb NOT NULL,
    return_url              text,
    next_action             jsonb,
    failure_code            text,
    failure_message         text,
    failure_provider_code   text,
    capture_before          timestamptz, -- as the provider states it
    expires_at              timestamptz NOT NULL, -- an authorize provably unsent by then is given up
    created_at              timestamptz NOT NULL,
    updated_at              timestamptz NOT NULL,
    CONSTRAINT transactions_authorized_within_amount CHECK (authorized_minor <= amount_minor),
    CONSTRAINT transactions_captured_within_authorized CHECK (captured_minor <= authorized_minor),
    CONSTRAINT transactions_refunds_within_captured
        CHECK (refunded_minor + refund_reserved_minor + disputed_minor <= captured_minor)
);
CREATE INDEX transactions_merchant ON transactions (merchant_id, created_at DESC, id DESC);
CREATE INDEX transactions_status ON transactions (status, created_at);
CREATE INDEX transactions_provider_transaction ON transactions (provider_transaction_id);
CREATE INDEX transactions_created ON transactions (created_at);
CREATE INDEX transactions_merchant_status ON transactions (merchant_id, status, created_at DESC, id DESC);
-- Unique for ever: a reference that was used once never charges again, whatever key it comes with.
CREATE UNIQUE INDEX transactions_merchant_reference ON transactions (merchant_id, merchant_reference)
    WHERE merchant_reference IS NOT NULL;

CREATE TABLE refunds (
    id                    uuid PRIMARY KEY,
    transaction_id        uuid NOT NULL REFERENCES transactions,
    merchant_id           uuid NOT NULL REFERENCES merchants,
    version               bigint NOT NULL CHECK (version >= 1),
    status                text NOT NULL CHECK (status IN ('PENDING', 'SUCCEEDED', 'FAILED', 'CANCELED')),
    previous_status       text CHECK (previous_status IN ('PENDING', 'SUCCEEDED', 'FAILED', 'CANCELED')),
    origin                text NOT NULL CHECK (origin IN ('merchant', 'provider')), -- provider: made outside Tollgate
    currency              text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount_minor          bigint NOT NULL CHECK (amount_minor > 0),
    -- How much of the amount fits within what was captured; the rest is the payment's refund_excess_minor.
    counted_minor         bigint NOT NULL CHECK (counted_minor BETWEEN 0 AND amount_minor),
    reason                text,
    provider              text NOT NULL,
    provider_refund_id    text,
    failure_code          text,
    failure_message       text,
    failure_provider_code text,
    created_at            timestamptz NOT NULL,
    updated_at            timestamptz NOT NULL
);
CREATE INDEX refunds_transaction ON refunds (transaction_id, created_at);
CREATE INDEX refunds_status ON refunds (status, created_at);
CREATE UNIQUE INDEX refunds_provider_refund ON refunds (provider, provider_refund_id)
    WHERE provider_refund_id IS NOT NULL;

-- The log is append-only. kind 'change' rows fold: applied in version order, they give the
-- object's row back. 'intent' and 'refused' rows tell who tried what, and do not fold.
-- Range-partitioned by the payment's id, which is by time, so that old months can be
-- detached; (object, version) stays unique since it contains the partition key.
CREATE TABLE transaction_audit_log (
    transaction_id uuid NOT NULL,
    id             uuid NOT NULL,
    merchant_id    uuid NOT NULL,
    object         text NOT NULL CHECK (object IN ('payment', 'refund')),
    object_id      uuid NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('change', 'intent', 'refused')),
    version        bigint CHECK ((kind = 'change') = (version IS NOT NULL)),
    action         text NOT NULL, -- what happened: 'create', 'authorization.authorized', 'capture', …
    delta          jsonb NOT NULL, -- change: column -> new value, complete; else what was asked
    actor          text NOT NULL, -- who: 'merchant:<api key id>', 'provider:<event id>', 'function:<name>', …
    request_id     text NOT NULL,
    at             timestamptz NOT NULL,
    PRIMARY KEY (transaction_id, id),
    UNIQUE (transaction_id, object_id, version)
) PARTITION BY RANGE (transaction_id);
CREATE TABLE transaction_audit_log_default PARTITION OF transaction_audit_log DEFAULT;

-- +goose StatementBegin
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: the table is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd
CREATE TRIGGER transaction_audit_log_append_only BEFORE UPDATE OR DELETE ON transaction_audit_log
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transaction_audit_log_no_truncate BEFORE TRUNCATE ON transaction_audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transaction_audit_log_default_no_truncate BEFORE TRUNCATE ON transaction_audit_log_default
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Status moves only along the state machine, versions only by one.
-- +goose StatementBegin
CREATE FUNCTION transactions_guard_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.version <> OLD.version + 1 THEN
        RAISE EXCEPTION 'payment % goes from version % to %', OLD.id, OLD.version, NEW.version
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.status <> OLD.status AND (OLD.status || '>' || NEW.status) NOT IN (
        'PENDING>AUTHORIZED', 'PENDING>CAPTURED', 'PENDING>FAILED', 'PENDING>CANCELED',
        'AUTHORIZED>CAPTURED', 'AUTHORIZED>FAILED', 'AUTHORIZED>CANCELED',
        'CAPTURED>SETTLED', 'CAPTURED>REFUNDED', 'SETTLED>REFUNDED',
        'REFUNDED>CAPTURED', 'REFUNDED>SETTLED') -- back, on the provider's proof that the refund failed
    THEN
        RAISE EXCEPTION 'payment % can''t go from % to %', OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER transactions_guard_move BEFORE UPDATE ON transactions
    FOR EACH ROW EXECUTE FUNCTION transactions_guard_move();

-- Every version has its audit row when the transaction commits.
-- +goose StatementBegin
CREATE FUNCTION require_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM transaction_audit_log
                   WHERE transaction_id = (CASE WHEN TG_ARGV[0] = 'payment' THEN NEW.id
                                                ELSE (to_jsonb(NEW) ->> 'transaction_id')::uuid END)
                     AND object_id = NEW.id AND version = NEW.version) THEN
        RAISE EXCEPTION '% % version % has no audit row', TG_ARGV[0], NEW.id, NEW.version
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE CONSTRAINT TRIGGER transactions_audited AFTER INSERT OR UPDATE ON transactions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_audit('payment');
CREATE CONSTRAINT TRIGGER refunds_audited AFTER INSERT OR UPDATE ON refunds
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_audit('refund');
