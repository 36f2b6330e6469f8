-- Which processes are alive, so that partitions are shared out among them.
CREATE TABLE member (
    addr text PRIMARY KEY,
    until timestamptz NOT NULL);
