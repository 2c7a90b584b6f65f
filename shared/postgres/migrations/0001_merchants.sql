-- +goose Up
-- Rules that hold for every table here:
--   keys are UUIDv7 made by the caller, times are timestamptz given by the caller
--   (the test clock drives everything, so the database's own clock is never read);
--   amounts are bigint minor units of the row's currency;
--   what must never be wrong is a constraint or a trigger first, and Go second.

CREATE TABLE merchants (
    id         uuid PRIMARY KEY,
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    status     text NOT NULL CHECK (status IN ('ACTIVE', 'SUSPENDED')),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

-- A key is shown once; only its SHA-256 is kept. The secret part has 256 random
-- bits, so a slow hash would add cost and no strength.
CREATE TABLE api_keys (
    id          uuid PRIMARY KEY,
    merchant_id uuid NOT NULL REFERENCES merchants,
    secret_hash bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
    label       text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL,
    revoked_at  timestamptz
);
CREATE INDEX api_keys_merchant ON api_keys (merchant_id);
