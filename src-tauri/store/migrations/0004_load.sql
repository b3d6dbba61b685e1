-- How much the copies of containers that may scale were asked: by the minute for a day, by the quarter of an hour for thirty days. Shares in
-- thousandths, traffic in hundredths of a request a second.
CREATE TABLE load (
  container   BLOB    NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
  minutes     INTEGER NOT NULL,
  at          INTEGER NOT NULL,
  peak        INTEGER NOT NULL,
  network     INTEGER NOT NULL,
  concurrency INTEGER NOT NULL,
  latency     INTEGER NOT NULL,
  traffic     INTEGER NOT NULL,
  ready       INTEGER NOT NULL,
  wanted      INTEGER NOT NULL,
  changes     INTEGER NOT NULL,
  PRIMARY KEY (container, minutes, at)
) STRICT, WITHOUT ROWID;

CREATE INDEX load_by_age ON load (minutes, at);
