-- +goose Up

-- Periods end. Once one is marked as ending, nothing is recorded in it any more, so that what is summed up or sealed
-- of it is final. Marked in time order; closed when its sums and seals are made.
CREATE TABLE closed_periods (
    until     timestamptz PRIMARY KEY, -- the period is all before it that no earlier period has
    marked_at timestamptz NOT NULL,
    marked_by xid8, -- a transaction begun after the mark was committed: only older ones can have missed it
    closed_at timestamptz
);

-- A period that is marked takes no more rows. The transaction gets its number first and looks second: so one that
-- does not see the mark is older than marked_by, and is waited for. With a snapshot older than its number, as the
-- stricter isolation levels have, that would not hold.
-- +goose StatementBegin
CREATE FUNCTION refuse_closed_period() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    closed timestamptz;
    at     timestamptz;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION '% is written in transactions that are READ COMMITTED alone', TG_TABLE_NAME
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    PERFORM pg_current_xact_id();
    SELECT max(until) INTO closed FROM closed_periods;
    IF TG_TABLE_NAME LIKE 'ledger%' THEN at := NEW.posted_at; ELSE at := NEW.at; END IF;
    IF at < closed THEN
        RAISE EXCEPTION 'the period until % takes no more rows in %', closed, TG_TABLE_NAME USING ERRCODE = 'TG004';
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd

-- The ledger. Debits are positive, credits negative, and the entries of a posting add up to nothing. Rows are never
-- changed: what was wrong is posted the other way.
CREATE TABLE ledger_postings (
    id             uuid PRIMARY KEY,
    kind           text NOT NULL CHECK (kind IN
                     ('capture', 'refund', 'refund_failed', 'fee', 'fee_returned', 'dispute_opened',
                      'dispute_won', 'dispute_lost', 'obligation', 'obligation_refund', 'obligation_refund_failed',
                      'settlement', 'payout', 'provider_fee', 'variance', 'adjustment')),
    merchant_id    uuid, -- NULL: nobody's, such as a provider's withdrawal
    transaction_id uuid REFERENCES transactions, -- the payment, if it is about one
    subject_id     uuid, -- the refund, dispute, settlement, … that it is about
    provider       text NOT NULL CHECK (provider <> ''),
    currency       text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    object_id      text, -- the provider's object, as provider_facts has it
    reference      text, -- what can be posted only once says what it is
    lines          smallint NOT NULL CHECK (lines >= 2),
    posted_at      timestamptz NOT NULL,
    CHECK (transaction_id IS NULL OR merchant_id IS NOT NULL)
);
CREATE UNIQUE INDEX ledger_postings_reference ON ledger_postings (kind, reference) WHERE reference IS NOT NULL;
CREATE INDEX ledger_postings_transaction ON ledger_postings (transaction_id) WHERE transaction_id IS NOT NULL;
CREATE INDEX ledger_postings_object ON ledger_postings (provider, object_id, kind) WHERE object_id IS NOT NULL;
CREATE INDEX ledger_postings_subject ON ledger_postings (subject_id) WHERE subject_id IS NOT NULL;

-- What its sums are made by is copied from the posting.
CREATE TABLE ledger_entries (
    posting_id     uuid NOT NULL REFERENCES ledger_postings,
    line           smallint NOT NULL CHECK (line >= 1),
    account        text NOT NULL CHECK (account IN
                     ('receivable', 'payable', 'fees', 'variance', 'disputes', 'dispute_reserve', 'payouts', 'obligations')),
    amount_minor   bigint NOT NULL CHECK (amount_minor <> 0),
    merchant_id    uuid CHECK (merchant_id IS NOT NULL OR account NOT IN ('payable', 'dispute_reserve')),
    provider       text NOT NULL,
    currency       text NOT NULL,
    transaction_id uuid,
    kind           text NOT NULL,
    posted_at      timestamptz NOT NULL,
    PRIMARY KEY (posting_id, line)
);
CREATE INDEX ledger_entries_merchant ON ledger_entries (merchant_id, posted_at)
    INCLUDE (provider, currency, account, amount_minor);
-- Periods are read whole, and lie together in the table.
CREATE INDEX ledger_entries_posted ON ledger_entries USING brin (posted_at) WITH (autosummarize = on);

-- What the merchant was not settled for yet: the payable lines of all postings but settlements. A queue: a settlement
-- takes its lines out of it.
CREATE TABLE unsettled_entries (
    posting_id     uuid NOT NULL,
    line           smallint NOT NULL,
    merchant_id    uuid NOT NULL,
    currency       text NOT NULL,
    provider       text NOT NULL,
    transaction_id uuid,
    kind           text NOT NULL,
    amount_minor   bigint NOT NULL, -- as in the ledger: what the merchant gets is negative
    posted_at      timestamptz NOT NULL,
    PRIMARY KEY (posting_id, line)
);
CREATE INDEX unsettled_entries_merchant ON unsettled_entries (merchant_id, currency, posted_at);

-- When the transaction commits, a posting has all its lines and no others, they are its own, they add up to nothing,
-- and what a merchant is owed waits to be settled.
-- +goose StatementBegin
CREATE FUNCTION require_balance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    posting ledger_postings;
    n       bigint;
    total   numeric;
    own     boolean;
    queued  boolean;
BEGIN
    IF TG_TABLE_NAME = 'ledger_postings' THEN
        posting := NEW;
    ELSE
        SELECT * INTO posting FROM ledger_postings WHERE id = NEW.posting_id;
    END IF;
    SELECT count(*), sum(e.amount_minor),
           bool_and((e.merchant_id, e.provider, e.currency, e.transaction_id, e.kind, e.posted_at) IS NOT DISTINCT FROM
                    (posting.merchant_id, posting.provider, posting.currency, posting.transaction_id, posting.kind, posting.posted_at))
      INTO n, total, own
      FROM ledger_entries e WHERE e.posting_id = posting.id;
    IF n <> posting.lines OR total <> 0 OR NOT own THEN
        RAISE EXCEPTION 'posting % (%) has % of % lines, which add up to %', posting.id, posting.kind, n, posting.lines, total
            USING ERRCODE = 'check_violation';
    END IF;
    IF TG_TABLE_NAME = 'ledger_postings' AND posting.kind <> 'settlement' THEN
        SELECT bool_and(u.amount_minor IS NOT NULL) INTO queued
          FROM ledger_entries e
          LEFT JOIN unsettled_entries u ON (u.posting_id, u.line, u.merchant_id, u.currency, u.amount_minor, u.posted_at) =
                                           (e.posting_id, e.line, e.merchant_id, e.currency, e.amount_minor, e.posted_at)
         WHERE e.posting_id = posting.id AND e.account = 'payable';
        IF NOT queued THEN
            RAISE EXCEPTION 'posting % (%) does not wait to be settled', posting.id, posting.kind
                USING ERRCODE = 'check_violation';
        END IF;
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE CONSTRAINT TRIGGER ledger_postings_balance AFTER INSERT ON ledger_postings
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_balance();
CREATE CONSTRAINT TRIGGER ledger_entries_balance AFTER INSERT ON ledger_entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_balance();

-- What an account stood at when a period closed: all that was posted before until. An account has a row for each
-- period in which it moved. merchant_id is all zeros where the entries have none.
CREATE TABLE ledger_balances (
    merchant_id   uuid NOT NULL,
    provider      text NOT NULL,
    currency      text NOT NULL,
    account       text NOT NULL,
    until         timestamptz NOT NULL REFERENCES closed_periods,
    balance_minor bigint NOT NULL,
    PRIMARY KEY (merchant_id, provider, currency, account, until)
);
CREATE INDEX ledger_balances_until ON ledger_balances (until);

-- What a merchant pays for a capture at a provider, from effective_from until the next row. No row: nothing.
CREATE TABLE fee_schedules (
    merchant_id        uuid NOT NULL REFERENCES merchants,
    provider           text NOT NULL CHECK (provider <> ''),
    currency           text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    basis_points       int NOT NULL CHECK (basis_points BETWEEN 0 AND 10000), -- of the captured amount
    fixed_minor        bigint NOT NULL CHECK (fixed_minor >= 0), -- and this, for each capture
    rounding           text NOT NULL CHECK (rounding IN ('half_up', 'half_even', 'up', 'down')),
    refund_returns_fee boolean NOT NULL, -- in proportion
    dispute_fee_minor  bigint NOT NULL CHECK (dispute_fee_minor >= 0),
    effective_from     timestamptz NOT NULL,
    created_at         timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, provider, currency, effective_from)
);

-- A mark stands, and a period that is closed stays so. Before that it may be marked anew: by a later transaction, for
-- which more is waited.
-- +goose StatementBegin
CREATE FUNCTION closed_periods_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN -- one after the other: neither of two sees the other before it is committed
        PERFORM pg_advisory_xact_lock(hashtext('closed_periods'));
    END IF;
    IF TG_OP = 'INSERT' AND EXISTS (SELECT 1 FROM closed_periods WHERE until >= NEW.until) THEN
        RAISE EXCEPTION 'a period that ends at or after % is marked already', NEW.until USING ERRCODE = 'check_violation';
    ELSIF TG_OP = 'UPDATE' AND ((NEW.until, NEW.marked_at) IS DISTINCT FROM (OLD.until, OLD.marked_at)
        OR OLD.closed_at IS NOT NULL) THEN
        RAISE EXCEPTION 'the period until % is what it is', OLD.until USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER closed_periods_guard BEFORE INSERT OR UPDATE ON closed_periods
    FOR EACH ROW EXECUTE FUNCTION closed_periods_guard();
CREATE TRIGGER closed_periods_keep BEFORE DELETE ON closed_periods FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER closed_periods_no_truncate BEFORE TRUNCATE ON closed_periods FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- Nothing of these is ever changed.
-- +goose StatementBegin
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['ledger_postings', 'ledger_entries', 'ledger_balances', 'fee_schedules'] LOOP
        EXECUTE format('CREATE TRIGGER %1$s_append_only BEFORE UPDATE OR DELETE ON %1$s
            FOR EACH ROW EXECUTE FUNCTION refuse_change()', t);
        EXECUTE format('CREATE TRIGGER %1$s_no_truncate BEFORE TRUNCATE ON %1$s
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', t);
    END LOOP;
END $$;
-- +goose StatementEnd

CREATE TRIGGER ledger_postings_open_period BEFORE INSERT ON ledger_postings
    FOR EACH ROW EXECUTE FUNCTION refuse_closed_period();
CREATE TRIGGER transaction_audit_log_open_period BEFORE INSERT ON transaction_audit_log
    FOR EACH ROW EXECUTE FUNCTION refuse_closed_period();

GRANT SELECT ON fee_schedules TO tollgate_function;
GRANT SELECT, INSERT ON ledger_postings, ledger_entries, ledger_balances TO tollgate_function;
GRANT SELECT, INSERT, DELETE ON unsettled_entries TO tollgate_function;
GRANT SELECT, INSERT, UPDATE ON closed_periods TO tollgate_function;
