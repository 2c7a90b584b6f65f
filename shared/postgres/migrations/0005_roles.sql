-- +goose Up

-- What the functions may do, and no more. Logins are members of this role; roles belong to
-- the cluster, so another database of the same cluster may have made it already.
-- +goose StatementBegin
DO $$
BEGIN
    CREATE ROLE tollgate_function NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
-- +goose StatementEnd

GRANT USAGE ON SCHEMA public TO tollgate_function;
GRANT SELECT ON merchants, api_keys TO tollgate_function;
GRANT SELECT, INSERT, UPDATE ON
    transactions, refunds, idempotency_keys, transaction_saga, saga_attempts, obligations,
    webhook_events, outbox, webhook_endpoints, webhook_deliveries TO tollgate_function;
GRANT SELECT, INSERT ON
    transaction_audit_log, provider_responses, provider_facts, events,
    webhook_endpoint_secrets, webhook_delivery_logs TO tollgate_function;
