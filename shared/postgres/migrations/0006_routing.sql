-- +goose Up

-- Where a payment may go, in which order, and why it went where it is. NULL on payments
-- older than this.
ALTER TABLE transactions ADD COLUMN route jsonb;

-- The providers that a merchant prefers, the first before the others.
ALTER TABLE merchants ADD COLUMN provider_preference text[] NOT NULL DEFAULT '{}';
