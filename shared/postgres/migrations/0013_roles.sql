-- +goose Up

-- A role for each function, and one for scripts/ops: what its statements need and no more. A test follows the statements
-- from the code to these rights, both ways, and testdata/grants.txt has them by role. Columns are named where a row is
-- changed, and where others in the table are nobody else's business. Who logs in is a member of one role, and given it
-- by scripts/migrate. The role that all functions had, tollgate_function, stays for the release before this one.
-- Roles belong to the cluster, so another database of the same cluster may have made them already.
-- +goose StatementBegin
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY[
        'tollgate_applywebhook', 'tollgate_cancelpayment', 'tollgate_capturepayment', 'tollgate_createpayment',
        'tollgate_deliverwebhook', 'tollgate_getpayment', 'tollgate_ingestwebhook', 'tollgate_listdisputes',
        'tollgate_listpayments', 'tollgate_listsettlements', 'tollgate_notifymerchant', 'tollgate_reconcile',
        'tollgate_refundpayment', 'tollgate_resumepayment', 'tollgate_settle', 'tollgate_sweep', 'tollgate_verifyaudit',
        'tollgate_webhookadmin', 'tollgate_operator'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END;
        EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', role);
        IF role <> 'tollgate_operator' THEN -- a function starts when the schema fits it
            EXECUTE format('GRANT SELECT ON goose_db_version TO %I', role);
        END IF;
    END LOOP;
END $$;
-- +goose StatementEnd

GRANT SELECT ON merchants TO tollgate_cancelpayment, tollgate_capturepayment, tollgate_createpayment,
    tollgate_getpayment, tollgate_listdisputes, tollgate_listpayments, tollgate_listsettlements, tollgate_operator,
    tollgate_refundpayment, tollgate_settle, tollgate_webhookadmin;
GRANT INSERT ON merchants TO tollgate_operator;
GRANT UPDATE (provider_preference, settlement_cutoff, status, timezone, updated_at) ON merchants TO
    tollgate_operator;

-- The hashes are for those who let merchants in; nobody can change one.
GRANT SELECT (id, merchant_id, revoked_at, secret_hash) ON api_keys TO tollgate_cancelpayment,
    tollgate_capturepayment, tollgate_createpayment, tollgate_getpayment, tollgate_listdisputes,
    tollgate_listpayments, tollgate_listsettlements, tollgate_refundpayment, tollgate_webhookadmin;
GRANT SELECT (created_at, id, label, merchant_id, revoked_at) ON api_keys TO tollgate_operator;
GRANT INSERT ON api_keys TO tollgate_operator;
GRANT UPDATE (revoked_at) ON api_keys TO tollgate_operator;

-- Whose a payment is, its amount and its currency stay what they were made with.
GRANT SELECT ON transactions TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_getpayment, tollgate_listpayments, tollgate_operator, tollgate_reconcile,
    tollgate_refundpayment, tollgate_resumepayment, tollgate_settle, tollgate_verifyaudit;
GRANT INSERT ON transactions TO tollgate_createpayment;
GRANT UPDATE (authorized_minor, capture_before, capture_excess_minor, captured_minor, disputed_minor,
    event_sequence, failure_code, failure_message, failure_provider_code, next_action, payment_method,
    previous_status, provider, provider_account, provider_transaction_id, reconciliation_status,
    refund_excess_minor, refund_reserved_minor, refunded_minor, route, status, updated_at, version) ON transactions
    TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment, tollgate_createpayment,
    tollgate_reconcile, tollgate_refundpayment, tollgate_resumepayment;
GRANT UPDATE (event_sequence, previous_status, status, updated_at, version) ON transactions TO tollgate_settle;
GRANT UPDATE (updated_at) ON transactions TO tollgate_operator;

GRANT SELECT ON refunds TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_getpayment, tollgate_operator, tollgate_reconcile, tollgate_refundpayment,
    tollgate_resumepayment, tollgate_verifyaudit;
GRANT INSERT ON refunds TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_reconcile, tollgate_refundpayment, tollgate_resumepayment;
GRANT UPDATE (counted_minor, failure_code, failure_message, failure_provider_code, previous_status,
    provider_refund_id, status, updated_at, version) ON refunds TO tollgate_applywebhook, tollgate_cancelpayment,
    tollgate_capturepayment, tollgate_createpayment, tollgate_reconcile, tollgate_refundpayment,
    tollgate_resumepayment;

GRANT SELECT ON disputes TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_getpayment, tollgate_listdisputes, tollgate_operator, tollgate_reconcile,
    tollgate_refundpayment, tollgate_resumepayment, tollgate_verifyaudit;
GRANT INSERT ON disputes TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_reconcile, tollgate_refundpayment, tollgate_resumepayment;
GRANT UPDATE (amount_minor, closed_at, counted_minor, opened_at, previous_status, reason, respond_by, status,
    updated_at, version) ON disputes TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_reconcile, tollgate_refundpayment, tollgate_resumepayment;

-- Only a human has what merchants say in words erased.
GRANT SELECT (data, id) ON personal_data TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_getpayment, tollgate_listpayments, tollgate_reconcile, tollgate_refundpayment,
    tollgate_resumepayment, tollgate_settle;
GRANT SELECT (data, id, transaction_id) ON personal_data TO tollgate_operator;
GRANT INSERT ON personal_data TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_reconcile, tollgate_refundpayment, tollgate_resumepayment;
GRANT DELETE ON personal_data TO tollgate_operator;

-- The log is written by whoever changes something, and read by verifyaudit and people: what requires its rows, and looks
-- for closed periods, does so in the owner's name (below).
GRANT SELECT ON transaction_audit_log TO tollgate_operator, tollgate_verifyaudit;
GRANT INSERT ON transaction_audit_log TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_operator, tollgate_reconcile, tollgate_refundpayment, tollgate_resumepayment,
    tollgate_settle;

-- A key, its fingerprint and its payment can't be changed; the stored answer can, and expires.
GRANT SELECT ON idempotency_keys TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_operator, tollgate_reconcile, tollgate_refundpayment, tollgate_resumepayment,
    tollgate_sweep;
GRANT INSERT ON idempotency_keys TO tollgate_cancelpayment, tollgate_capturepayment, tollgate_createpayment,
    tollgate_refundpayment;
GRANT UPDATE (completed_at, response_body, response_status) ON idempotency_keys TO tollgate_applywebhook,
    tollgate_cancelpayment, tollgate_capturepayment, tollgate_createpayment, tollgate_reconcile,
    tollgate_refundpayment, tollgate_resumepayment;
GRANT UPDATE (response_body) ON idempotency_keys TO tollgate_operator, tollgate_sweep;

GRANT SELECT ON transaction_saga TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_getpayment, tollgate_listpayments, tollgate_operator, tollgate_reconcile,
    tollgate_refundpayment, tollgate_resumepayment, tollgate_settle, tollgate_sweep;
GRANT INSERT ON transaction_saga TO tollgate_cancelpayment, tollgate_capturepayment, tollgate_createpayment,
    tollgate_refundpayment, tollgate_resumepayment;
GRANT UPDATE (due_at, evidence_id, lease_token, lease_until, outcome, provider, rule, state, tries, updated_at) ON
    transaction_saga TO tollgate_cancelpayment, tollgate_capturepayment, tollgate_createpayment,
    tollgate_refundpayment, tollgate_resumepayment;
GRANT UPDATE (due_at, evidence_id, lease_token, lease_until, outcome, rule, state, tries, updated_at) ON
    transaction_saga TO tollgate_applywebhook, tollgate_reconcile;
GRANT UPDATE (task_made_at) ON transaction_saga TO tollgate_sweep;

GRANT SELECT ON saga_attempts TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_getpayment, tollgate_operator, tollgate_reconcile, tollgate_refundpayment,
    tollgate_resumepayment;
GRANT INSERT ON saga_attempts TO tollgate_cancelpayment, tollgate_capturepayment, tollgate_createpayment,
    tollgate_refundpayment, tollgate_resumepayment;
GRANT UPDATE (closed_at, outcome, sent_at, unsent) ON saga_attempts TO tollgate_cancelpayment,
    tollgate_capturepayment, tollgate_refundpayment, tollgate_resumepayment;
GRANT UPDATE (closed_at, outcome) ON saga_attempts TO tollgate_applywebhook, tollgate_reconcile;
GRANT UPDATE (closed_at, outcome, unsent) ON saga_attempts TO tollgate_createpayment;
GRANT UPDATE (request) ON saga_attempts TO tollgate_operator;

GRANT SELECT (body, created_at, duration_ms, error, http_status, id, operation, outcome, provider,
    provider_request_id, transaction_id) ON provider_responses TO tollgate_operator;
GRANT INSERT ON provider_responses TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_operator, tollgate_reconcile, tollgate_refundpayment, tollgate_resumepayment;
GRANT UPDATE (body) ON provider_responses TO tollgate_operator;

GRANT SELECT ON provider_facts TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_operator, tollgate_reconcile, tollgate_refundpayment, tollgate_resumepayment;
GRANT INSERT ON provider_facts TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_operator, tollgate_reconcile, tollgate_refundpayment, tollgate_resumepayment;

GRANT SELECT ON obligations TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_operator, tollgate_reconcile, tollgate_refundpayment, tollgate_resumepayment,
    tollgate_sweep;
GRANT INSERT ON obligations TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_reconcile, tollgate_refundpayment, tollgate_resumepayment;
GRANT UPDATE (account, amount_minor, closed_at, due_at, merchant_id, proof_id, reason, state, transaction_id) ON
    obligations TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment, tollgate_createpayment,
    tollgate_refundpayment;
GRANT UPDATE (account, amount_minor, approved_by, closed_at, due_at, merchant_id, proof_id, reason, state,
    transaction_id) ON obligations TO tollgate_reconcile;
GRANT UPDATE (account, amount_minor, attempt, closed_at, due_at, merchant_id, proof_id, reason, request, sent_at,
    state, transaction_id, tries) ON obligations TO tollgate_resumepayment;
GRANT UPDATE (approved_by, closed_at, due_at, state) ON obligations TO tollgate_operator;

GRANT SELECT (body, due_at, event_id, id, reason, received_at, state, transaction_id, type) ON webhook_events TO
    tollgate_operator;
GRANT SELECT (body, event_id, id, provider, received_at, state, tries, type) ON webhook_events TO
    tollgate_applywebhook;
GRANT SELECT (due_at, id, object_id, provider, request_id, state, transaction_id, tries) ON webhook_events TO
    tollgate_sweep;
GRANT SELECT (event_id, id, object_id, provider, request_id, state, transaction_id) ON webhook_events TO
    tollgate_ingestwebhook;
GRANT INSERT ON webhook_events TO tollgate_ingestwebhook;
GRANT UPDATE (body) ON webhook_events TO tollgate_operator;
GRANT UPDATE (due_at, finished_at, reason, state) ON webhook_events TO tollgate_applywebhook;
GRANT UPDATE (due_at, tries) ON webhook_events TO tollgate_sweep;

GRANT SELECT ON events TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_deliverwebhook, tollgate_getpayment, tollgate_notifymerchant,
    tollgate_operator, tollgate_reconcile, tollgate_refundpayment, tollgate_resumepayment, tollgate_sweep,
    tollgate_webhookadmin;
GRANT INSERT ON events TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_deliverwebhook, tollgate_reconcile, tollgate_refundpayment,
    tollgate_resumepayment, tollgate_settle, tollgate_webhookadmin;
GRANT UPDATE (payload) ON events TO tollgate_operator;

GRANT SELECT ON outbox TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_operator, tollgate_reconcile, tollgate_refundpayment, tollgate_resumepayment,
    tollgate_sweep;
GRANT INSERT ON outbox TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_deliverwebhook, tollgate_reconcile, tollgate_refundpayment,
    tollgate_resumepayment, tollgate_settle, tollgate_webhookadmin;
GRANT UPDATE (claim_token, claimed_until, due_at, last_error, published_at, tries) ON outbox TO
    tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment, tollgate_createpayment,
    tollgate_reconcile, tollgate_refundpayment, tollgate_resumepayment, tollgate_sweep;

GRANT SELECT ON webhook_endpoints TO tollgate_webhookadmin;
GRANT SELECT (api_version, created_at, deleted_at, description, disabled_at, disabled_by, disabled_reason, enabled,
    event_sequence, event_types, failing_since, failures, headers, id, max_in_flight, merchant_id, next_slot_at,
    open_until, ordered, payload, rate_limit, signature, updated_at, url) ON webhook_endpoints TO
    tollgate_deliverwebhook;
GRANT SELECT (api_version, created_at, deleted_at, description, disabled_at, disabled_by, disabled_reason, enabled,
    event_types, failing_since, failures, headers, id, max_in_flight, merchant_id, open_until, ordered, payload,
    rate_limit, signature, updated_at, url) ON webhook_endpoints TO tollgate_operator;
GRANT SELECT (api_version, deleted_at, enabled, event_types, failing_since, id, merchant_id, ordered, payload,
    updated_at) ON webhook_endpoints TO tollgate_notifymerchant;
GRANT SELECT (deleted_at, disabled_by, enabled, failing_since, failures, id, open_until, probe_at) ON
    webhook_endpoints TO tollgate_sweep;
GRANT INSERT ON webhook_endpoints TO tollgate_operator, tollgate_webhookadmin;
GRANT UPDATE (api_version, deleted_at, description, disabled_at, disabled_by, disabled_reason, enabled,
    event_sequence, event_types, failing_since, failures, headers, max_in_flight, next_slot_at, open_until, ordered,
    payload, probe_at, rate_limit, updated_at, url) ON webhook_endpoints TO tollgate_webhookadmin;
GRANT UPDATE (deleted_at, disabled_at, disabled_by, disabled_reason, enabled, failing_since, failures, headers,
    next_slot_at, open_until, probe_at, updated_at) ON webhook_endpoints TO tollgate_operator;
GRANT UPDATE (disabled_at, disabled_by, disabled_reason, enabled, event_sequence, failing_since, failures,
    next_slot_at, open_until, probe_at, updated_at) ON webhook_endpoints TO tollgate_deliverwebhook;
GRANT UPDATE (open_until, probe_at) ON webhook_endpoints TO tollgate_sweep;
GRANT UPDATE (updated_at) ON webhook_endpoints TO tollgate_notifymerchant;

-- Sealed; deliverwebhook has the key to them.
GRANT SELECT ON webhook_endpoint_secrets TO tollgate_deliverwebhook;
GRANT SELECT (created_at, endpoint_id, expires_at, id) ON webhook_endpoint_secrets TO tollgate_webhookadmin;
GRANT SELECT (endpoint_id) ON webhook_endpoint_secrets TO tollgate_operator;
GRANT INSERT ON webhook_endpoint_secrets TO tollgate_operator, tollgate_webhookadmin;
GRANT UPDATE (expires_at) ON webhook_endpoint_secrets TO tollgate_webhookadmin;
GRANT DELETE ON webhook_endpoint_secrets TO tollgate_operator, tollgate_webhookadmin;

GRANT SELECT ON webhook_deliveries TO tollgate_deliverwebhook, tollgate_notifymerchant, tollgate_operator,
    tollgate_sweep, tollgate_webhookadmin;
GRANT INSERT ON webhook_deliveries TO tollgate_deliverwebhook, tollgate_notifymerchant, tollgate_webhookadmin;
GRANT UPDATE (next_retry_at, series_start, slot, status, task_generation, tried_at, updated_at) ON
    webhook_deliveries TO tollgate_operator, tollgate_webhookadmin;
GRANT UPDATE (attempt_count, delivered_at, last_attempt_at, lease_token, lease_until, next_retry_at, replay_id,
    response_body, response_code, series_start, slot, status, task_generation, tried_at, updated_at) ON
    webhook_deliveries TO tollgate_deliverwebhook;
GRANT UPDATE (next_retry_at, series_start, status, task_generation, updated_at) ON webhook_deliveries TO
    tollgate_sweep;
GRANT UPDATE (next_retry_at, status, task_generation, updated_at) ON webhook_deliveries TO tollgate_notifymerchant;

GRANT SELECT ON webhook_delivery_logs TO tollgate_operator, tollgate_webhookadmin;
GRANT INSERT ON webhook_delivery_logs TO tollgate_deliverwebhook;

GRANT SELECT ON webhook_replays TO tollgate_deliverwebhook, tollgate_notifymerchant, tollgate_operator,
    tollgate_sweep, tollgate_webhookadmin;
GRANT INSERT ON webhook_replays TO tollgate_deliverwebhook, tollgate_operator, tollgate_webhookadmin;
GRANT UPDATE (finished_at, state, updated_at) ON webhook_replays TO tollgate_operator, tollgate_webhookadmin;
GRANT UPDATE (collected_to, finished_at, state, total, turn, turn_at, updated_at) ON webhook_replays TO
    tollgate_deliverwebhook;
GRANT UPDATE (turn, turn_at, updated_at) ON webhook_replays TO tollgate_sweep;

GRANT SELECT ON ledger_postings TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_operator, tollgate_reconcile, tollgate_refundpayment, tollgate_resumepayment,
    tollgate_settle;
GRANT INSERT ON ledger_postings TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_operator, tollgate_reconcile, tollgate_refundpayment, tollgate_resumepayment,
    tollgate_settle;

GRANT SELECT ON ledger_entries TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_operator, tollgate_reconcile, tollgate_refundpayment, tollgate_resumepayment,
    tollgate_settle, tollgate_verifyaudit;
GRANT INSERT ON ledger_entries TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_operator, tollgate_reconcile, tollgate_refundpayment, tollgate_resumepayment,
    tollgate_settle;

GRANT SELECT ON unsettled_entries TO tollgate_settle;
GRANT INSERT ON unsettled_entries TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_operator, tollgate_reconcile, tollgate_refundpayment, tollgate_resumepayment,
    tollgate_settle;
GRANT DELETE ON unsettled_entries TO tollgate_settle;

GRANT SELECT ON ledger_balances TO tollgate_operator, tollgate_verifyaudit;
GRANT INSERT ON ledger_balances TO tollgate_verifyaudit;

GRANT SELECT ON fee_schedules TO tollgate_applywebhook, tollgate_cancelpayment, tollgate_capturepayment,
    tollgate_createpayment, tollgate_operator, tollgate_reconcile, tollgate_refundpayment, tollgate_resumepayment;
GRANT INSERT ON fee_schedules TO tollgate_operator;

GRANT SELECT ON closed_periods TO tollgate_operator, tollgate_verifyaudit;
GRANT INSERT ON closed_periods TO tollgate_verifyaudit;
GRANT UPDATE (closed_at, marked_by) ON closed_periods TO tollgate_verifyaudit;

GRANT SELECT ON batch_job_executions TO tollgate_operator, tollgate_settle, tollgate_sweep;
GRANT INSERT ON batch_job_executions TO tollgate_settle;
GRANT UPDATE (attempt, checkpoint, due_at, expected_payments, expected_sums, finished_at, last_error, lease_token,
    lease_until, settled_payments, settled_sums, skipped_payments, skipped_sums, status, step, try, warnings) ON
    batch_job_executions TO tollgate_settle;
GRANT UPDATE (last_error) ON batch_job_executions TO tollgate_sweep;

GRANT SELECT ON batch_execution_errors TO tollgate_operator, tollgate_settle;
GRANT INSERT ON batch_execution_errors TO tollgate_settle;

GRANT SELECT ON settlements TO tollgate_listsettlements, tollgate_operator, tollgate_settle;
GRANT INSERT ON settlements TO tollgate_settle;
GRANT UPDATE (adjustment_minor, captured_minor, completed_at, dispute_minor, fee_minor, line_count, manifest_sha256,
    net_minor, payment_count, posting_ids, refunded_minor, settled_payments, settled_to, skipped_lines,
    skipped_net_minor, skipped_payments, status) ON settlements TO tollgate_settle;

GRANT SELECT ON settlement_lines TO tollgate_listsettlements, tollgate_operator, tollgate_settle;
GRANT INSERT ON settlement_lines TO tollgate_settle;
GRANT DELETE ON settlement_lines TO tollgate_settle;

GRANT SELECT ON operator_alerts TO tollgate_operator, tollgate_settle, tollgate_sweep, tollgate_verifyaudit;
GRANT INSERT ON operator_alerts TO tollgate_settle, tollgate_verifyaudit;
GRANT UPDATE (detail, resolved_at, severity, times, updated_at) ON operator_alerts TO tollgate_settle;
GRANT UPDATE (detail, severity, times, updated_at) ON operator_alerts TO tollgate_verifyaudit;

GRANT SELECT ON payment_reconciliations TO tollgate_reconcile;
GRANT INSERT ON payment_reconciliations TO tollgate_reconcile;
GRANT UPDATE (checked_at, evidence_id, next_at, outcome) ON payment_reconciliations TO tollgate_reconcile;

GRANT SELECT ON statement_cursors TO tollgate_operator, tollgate_reconcile;
GRANT INSERT ON statement_cursors TO tollgate_reconcile;
GRANT UPDATE (cursor, facts_to, imported_to, lease_token, lease_until, not_before, reread_at, since, until,
    updated_at) ON statement_cursors TO tollgate_reconcile;

GRANT SELECT ON provider_entries TO tollgate_operator, tollgate_reconcile;
GRANT INSERT ON provider_entries TO tollgate_reconcile;
GRANT UPDATE (available_at, changed_at, echoed_payment, echoed_refund, judged_at, merchant_id, object_id, payout_id,
    raw, reference, restated, transaction_id, verdict) ON provider_entries TO tollgate_reconcile;
GRANT UPDATE (judged_at) ON provider_entries TO tollgate_operator;

GRANT SELECT ON differences TO tollgate_operator, tollgate_reconcile, tollgate_sweep;
GRANT INSERT ON differences TO tollgate_reconcile;
GRANT UPDATE (actual_currency, actual_minor, booked, currency, evidence, expected_minor, fee_minor, merchant_id,
    note, opened_at, payout_entry, resolution, resolved_at, resolved_by, state, transaction_id, updated_at) ON
    differences TO tollgate_reconcile;
GRANT UPDATE (booked, note, owner, resolution, resolved_at, resolved_by, state, updated_at) ON differences TO
    tollgate_operator;

GRANT SELECT ON difference_log TO tollgate_operator;
GRANT INSERT ON difference_log TO tollgate_operator, tollgate_reconcile;

GRANT SELECT ON audit_seals TO tollgate_operator, tollgate_verifyaudit;
GRANT INSERT ON audit_seals TO tollgate_verifyaudit;

GRANT SELECT ON audit_passes TO tollgate_sweep, tollgate_verifyaudit;
GRANT INSERT ON audit_passes TO tollgate_verifyaudit;
GRANT UPDATE (findings, finished_at, merchants, partial, payments, reached, rows, seals, stage, updated_at) ON
    audit_passes TO tollgate_verifyaudit;

-- What holds for a table is looked at in the name of its owner, whoever writes to it: so nobody needs a right to what the
-- constraint looks at alone.
ALTER FUNCTION require_audit() SECURITY DEFINER SET search_path = public, pg_temp;
ALTER FUNCTION require_balance() SECURITY DEFINER SET search_path = public, pg_temp;
ALTER FUNCTION refuse_closed_period() SECURITY DEFINER SET search_path = public, pg_temp;
