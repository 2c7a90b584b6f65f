-- +goose Up

-- When a payment was last held against its provider. Not in its own row: most checks change nothing about it.
CREATE TABLE payment_reconciliations (
    transaction_id uuid PRIMARY KEY REFERENCES transactions,
    checked_at     timestamptz NOT NULL,
    next_at        timestamptz NOT NULL, -- not before, unless somebody asks
    outcome        text NOT NULL CHECK (outcome IN
                     ('agrees', 'followed', 'disagrees', 'leased', 'moving', 'unanswered', 'elsewhere')),
    evidence_id    uuid -- the provider response, if it showed anything new
);
CREATE INDEX transactions_to_reconcile ON transactions (created_at) WHERE reconciliation_status = 'PENDING_RECONCILIATION';

-- How far each provider's account was read, and who reads it now.
CREATE TABLE statement_cursors (
    provider    text NOT NULL,
    account     text NOT NULL,
    imported_to timestamptz NOT NULL, -- what the provider had by then was read, but for what it reports late
    since       timestamptz, -- the times that are being read, and the provider's cursor in them
    until       timestamptz,
    cursor      text NOT NULL,
    facts_to    timestamptz NOT NULL, -- facts recorded before were held against what was read
    reread_at   timestamptz, -- when older times were last read again for what was missing there
    not_before  timestamptz, -- the provider asked to be left alone until then
    lease_token uuid,
    lease_until timestamptz,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (provider, account),
    CHECK ((since IS NULL) = (until IS NULL)),
    CHECK (since < until),
    CHECK (since IS NOT NULL OR cursor = ''),
    CHECK ((lease_token IS NULL) = (lease_until IS NULL))
);

-- What moved our balance at a provider, by its own report: amounts in minor units, as they change our balance.
CREATE TABLE provider_entries (
    provider       text NOT NULL,
    account        text NOT NULL,
    id             text NOT NULL CHECK (id <> ''), -- the provider's
    kind           text NOT NULL CHECK (kind IN
                     ('charge', 'refund', 'refund_failed', 'dispute', 'dispute_won', 'fee', 'payout', 'adjustment')),
    object_id      text NOT NULL, -- as in provider_facts; empty: of none, or not known yet
    reference      text NOT NULL, -- the provider's payment object; empty: not stated
    echoed_payment uuid, -- our ids as the provider has them, whether or not there is such a payment
    echoed_refund  uuid,
    currency       text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    gross_minor    bigint NOT NULL,
    fee_minor      bigint NOT NULL,
    net_minor      bigint NOT NULL,
    payout_id      text NOT NULL, -- empty: not paid out yet
    occurred_at    timestamptz NOT NULL,
    available_at   timestamptz,
    restated       jsonb, -- what the provider says of it now, if that is another amount
    raw            text NOT NULL, -- masked
    verdict        text CHECK (verdict IN ('matched', 'waiting', 'differs')),
    transaction_id uuid, -- the payment that it is about, as found
    merchant_id    uuid,
    imported_at    timestamptz NOT NULL,
    changed_at     timestamptz NOT NULL,
    judged_at      timestamptz, -- NULL: still to be matched
    PRIMARY KEY (provider, account, id),
    CHECK (net_minor = gross_minor - fee_minor),
    CHECK ((judged_at IS NULL) OR (verdict IS NOT NULL))
);
CREATE INDEX provider_entries_object ON provider_entries (provider, object_id) WHERE object_id <> '';
CREATE INDEX provider_entries_payout ON provider_entries (provider, account, payout_id) WHERE payout_id <> '';
CREATE INDEX provider_entries_unpaid ON provider_entries (provider, account, occurred_at) WHERE payout_id = '' AND kind <> 'payout';
CREATE INDEX provider_entries_to_judge ON provider_entries (provider, account, occurred_at, id) WHERE judged_at IS NULL;
CREATE INDEX provider_entries_waiting ON provider_entries (provider, account, occurred_at) WHERE verdict = 'waiting';
CREATE INDEX provider_entries_transaction ON provider_entries (transaction_id) WHERE transaction_id IS NOT NULL;

-- What a provider has said of amounts stays as it was said first.
-- +goose StatementBegin
CREATE FUNCTION provider_entries_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.provider, NEW.account, NEW.id, NEW.kind, NEW.currency, NEW.gross_minor, NEW.fee_minor, NEW.net_minor,
        NEW.occurred_at, NEW.imported_at) IS DISTINCT FROM
       (OLD.provider, OLD.account, OLD.id, OLD.kind, OLD.currency, OLD.gross_minor, OLD.fee_minor, OLD.net_minor,
        OLD.occurred_at, OLD.imported_at)
        OR OLD.object_id <> '' AND NEW.object_id <> OLD.object_id
    THEN
        RAISE EXCEPTION 'entry % of % is what it is', OLD.id, OLD.provider USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER provider_entries_guard BEFORE UPDATE ON provider_entries
    FOR EACH ROW EXECUTE FUNCTION provider_entries_guard();
CREATE TRIGGER provider_entries_keep BEFORE DELETE ON provider_entries FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER provider_entries_no_truncate BEFORE TRUNCATE ON provider_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Facts come of age in the order in which they were recorded.
CREATE INDEX provider_facts_recorded ON provider_facts USING brin (recorded_at) WITH (autosummarize = on);

-- Where our facts, the provider's report and our ledger do not say the same. The key says what it is about, so that
-- it is found once, however often it is looked for.
CREATE TABLE differences (
    id              uuid PRIMARY KEY,
    key             text NOT NULL UNIQUE,
    kind            text NOT NULL CHECK (kind IN
                      ('missing_here', 'missing_there', 'amount', 'fee', 'currency', 'duplicate', 'orphan', 'ledger')),
    provider        text NOT NULL,
    account         text NOT NULL,
    object_id       text NOT NULL,
    entry_id        text, -- NULL: the provider reports none
    transaction_id  uuid,
    merchant_id     uuid,
    currency        text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'), -- of expected_minor
    expected_minor  bigint NOT NULL, -- by our facts; 0: nothing
    actual_currency text NOT NULL CHECK (actual_currency ~ '^[A-Z]{3}$'),
    actual_minor    bigint NOT NULL, -- by the report; by the ledger, if the kind is that
    fee_minor       bigint NOT NULL, -- what the entry says was kept of it and the ledger does not have
    booked          boolean NOT NULL, -- the ledger has taken it over: our sums agree with the provider's in this
    evidence        jsonb NOT NULL,
    state           text NOT NULL CHECK (state IN ('OPEN', 'RESOLVED')),
    owner           text NOT NULL CHECK (owner <> ''),
    resolution      text CHECK (resolution IN
                      ('agrees', 'automatic', 'explained', 'written_off', 'approved', 'rejected')),
    resolved_by     text,
    note            text NOT NULL,
    obligation_id   uuid REFERENCES obligations, -- what releases an orphan, once a human approves
    payout_entry    text, -- the payout that was made as if the report were right by our facts
    opened_at       timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    resolved_at     timestamptz,
    CHECK ((state = 'RESOLVED') = (resolution IS NOT NULL)),
    CHECK ((state = 'RESOLVED') = (resolved_at IS NOT NULL)),
    CHECK ((state = 'RESOLVED') = (resolved_by IS NOT NULL)),
    CHECK (resolution NOT IN ('explained', 'written_off', 'approved', 'rejected') OR note <> '')
);
CREATE INDEX differences_open ON differences (kind, opened_at) WHERE state = 'OPEN';
CREATE INDEX differences_object ON differences (provider, object_id);
CREATE INDEX differences_entry ON differences (provider, entry_id) WHERE entry_id IS NOT NULL;
CREATE INDEX differences_transaction ON differences (transaction_id) WHERE transaction_id IS NOT NULL;
CREATE INDEX differences_opened ON differences (opened_at DESC, id DESC);

-- Who did what about a difference.
CREATE TABLE difference_log (
    id            uuid PRIMARY KEY,
    number        bigint GENERATED ALWAYS AS IDENTITY, -- the order of what was done at the same time
    difference_id uuid NOT NULL REFERENCES differences,
    action        text NOT NULL, -- opened, changed, reopened, assigned, resolved
    detail        jsonb NOT NULL,
    actor         text NOT NULL,
    at            timestamptz NOT NULL
);
CREATE INDEX difference_log_difference ON difference_log (difference_id, number);
CREATE TRIGGER difference_log_append_only BEFORE UPDATE OR DELETE ON difference_log
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER difference_log_no_truncate BEFORE TRUNCATE ON difference_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- An orphan is money that a provider took for no payment of ours. What releases it is proposed, and opened by a
-- human alone. It has no payment, and nor have its facts and the replies about it.
ALTER TABLE obligations
    ALTER COLUMN transaction_id DROP NOT NULL,
    ALTER COLUMN merchant_id DROP NOT NULL,
    ADD COLUMN echoed_payment uuid, -- the payment that the orphan names, though there is none such
    ADD COLUMN approved_by text,
    DROP CONSTRAINT obligations_state_check,
    DROP CONSTRAINT obligations_check,
    ADD CONSTRAINT obligations_state_check CHECK (state IN ('proposed', 'open', 'done', 'rejected')),
    ADD CONSTRAINT obligations_closed CHECK ((state IN ('done', 'rejected')) = (closed_at IS NOT NULL)),
    ADD CONSTRAINT obligations_owner CHECK ((transaction_id IS NULL) = (merchant_id IS NULL)),
    ADD CONSTRAINT obligations_proposed CHECK (state NOT IN ('proposed', 'rejected') OR transaction_id IS NULL),
    ADD CONSTRAINT obligations_approved CHECK (state NOT IN ('open', 'done') OR transaction_id IS NOT NULL OR approved_by IS NOT NULL);
ALTER TABLE provider_facts ALTER COLUMN transaction_id DROP NOT NULL;
ALTER TABLE provider_responses ALTER COLUMN transaction_id DROP NOT NULL;

GRANT SELECT, INSERT, UPDATE ON payment_reconciliations, statement_cursors, provider_entries, differences TO tollgate_function;
GRANT SELECT, INSERT ON difference_log TO tollgate_function;
