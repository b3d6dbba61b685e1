-- What an allocator keeps of its fog. Ids are blobs, times are milliseconds since 1970, states and roles are names and bits.

CREATE TABLE meta (
  key   TEXT NOT NULL PRIMARY KEY,
  value BLOB NOT NULL
) STRICT;

CREATE TABLE invites (
  secret_hash BLOB    NOT NULL PRIMARY KEY,
  roles       INTEGER NOT NULL,
  expires     INTEGER NOT NULL
) STRICT;

CREATE TABLE devices (
  id             BLOB    NOT NULL PRIMARY KEY,
  owner          BLOB    NOT NULL,
  name           TEXT    NOT NULL,
  granted        INTEGER NOT NULL,
  joined         INTEGER NOT NULL,
  -- What it lends, as it last said.
  lent_cpu       INTEGER NOT NULL DEFAULT 0,
  lent_memory    INTEGER NOT NULL DEFAULT 0,
  lent_storage   INTEGER NOT NULL DEFAULT 0,
  lent_bandwidth INTEGER NOT NULL DEFAULT 0,
  -- What its live instances hold of that.
  held_cpu       INTEGER NOT NULL DEFAULT 0 CHECK (held_cpu >= 0),
  held_memory    INTEGER NOT NULL DEFAULT 0 CHECK (held_memory >= 0),
  held_storage   INTEGER NOT NULL DEFAULT 0 CHECK (held_storage >= 0),
  held_bandwidth INTEGER NOT NULL DEFAULT 0 CHECK (held_bandwidth >= 0)
) STRICT;

CREATE TABLE containers (
  id        BLOB    NOT NULL PRIMARY KEY,
  owner     BLOB    NOT NULL,
  publisher BLOB    NOT NULL,
  onion     TEXT    NOT NULL UNIQUE,
  spec      TEXT    NOT NULL,
  proof     BLOB    NOT NULL,
  state     TEXT    NOT NULL,
  reason    TEXT    NOT NULL,
  created   INTEGER NOT NULL,
  -- Rises with each plan: the fencing token of its reservations.
  epoch     INTEGER NOT NULL DEFAULT 0,
  points    BLOB    NOT NULL DEFAULT x'',
  placement TEXT,
  deleting  INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE instances (
  id               BLOB    NOT NULL PRIMARY KEY,
  container        BLOB    NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
  device           BLOB    NOT NULL REFERENCES devices (id),
  cpu              INTEGER NOT NULL,
  memory           INTEGER NOT NULL,
  storage          INTEGER NOT NULL,
  bandwidth        INTEGER NOT NULL,
  state            TEXT    NOT NULL,
  reason           TEXT    NOT NULL,
  since            INTEGER NOT NULL,
  epoch            INTEGER NOT NULL,
  -- A reservation ends by itself then.
  expires          INTEGER NOT NULL,
  introduction_key BLOB
) STRICT;

CREATE INDEX instances_by_container ON instances (container);
CREATE INDEX instances_live ON instances (device) WHERE state NOT IN ('ended', 'lost');

-- Every move of a container (instance is null) or of one of its instances.
CREATE TABLE transitions (
  number    INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
  container BLOB    NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
  instance  BLOB,
  state     TEXT    NOT NULL,
  reason    TEXT    NOT NULL,
  at        INTEGER NOT NULL
) STRICT;

CREATE INDEX transitions_by_container ON transitions (container, number);
