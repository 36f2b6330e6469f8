-- Who writes, what was written, and what it added up to. One layout for all processes that share
-- the database.
CREATE TABLE layout (partitions integer NOT NULL);
CREATE TABLE owner (
    partition integer PRIMARY KEY,
    epoch bigint NOT NULL,
    name text NOT NULL,
    addr text NOT NULL DEFAULT '',
    until timestamptz NOT NULL DEFAULT 'epoch');
CREATE TABLE log (
    partition integer NOT NULL,
    seq bigint NOT NULL,
    epoch bigint NOT NULL,
    bytes bytea NOT NULL,
    PRIMARY KEY (partition, seq));
CREATE TABLE cut (
    partition integer NOT NULL,
    seq bigint NOT NULL,
    bytes bytea NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE snapshot (
    partition integer PRIMARY KEY,
    seq bigint NOT NULL,
    bytes bytea NOT NULL);
