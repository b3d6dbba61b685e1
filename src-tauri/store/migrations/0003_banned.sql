-- Keys of devices and of owners that are not let in again, and the device with whose removal each was banned.
CREATE TABLE banned (
  key    BLOB    NOT NULL PRIMARY KEY,
  device BLOB    NOT NULL,
  at     INTEGER NOT NULL
) STRICT;
