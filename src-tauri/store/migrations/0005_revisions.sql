-- Contents that containers have had, one under each revision that its publisher signed. A container that was never updated has none here.
CREATE TABLE revisions (
  container BLOB    NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
  number    INTEGER NOT NULL,
  image     TEXT    NOT NULL,
  -- As its publisher signed it.
  seal      BLOB    NOT NULL,
  state     TEXT    NOT NULL,
  reason    TEXT    NOT NULL,
  began     INTEGER NOT NULL,
  PRIMARY KEY (container, number)
) STRICT;

-- Of the content that visitors are told of, and of the one that a copy serves. 0: from before revisions were kept, the same for all copies.
ALTER TABLE containers ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
