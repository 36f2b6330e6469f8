-- Documents with a version each, listed by a key that whoever keeps them chooses; and bytes by
-- their hash. COLLATE "C" sorts by bytes, as SQLite does and as a cursor needs.
CREATE TABLE docs (
    collection text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    sort text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (collection, id));
CREATE INDEX docs_by_sort ON docs (collection, sort, id);
CREATE TABLE blobs (
    hash bytea PRIMARY KEY,
    bytes bytea NOT NULL);
