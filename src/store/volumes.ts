/** Volumes and who uses them. A container's uses go with its row; a volume in use can't go. */
export const volumesSchema = `
  CREATE TABLE volumes (
    name TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL,
    labels TEXT NOT NULL DEFAULT '{}',
    options TEXT NOT NULL DEFAULT '{}',
    removing INTEGER NOT NULL DEFAULT 0
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE volume_uses (
    volume TEXT NOT NULL REFERENCES volumes (name),
    container TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
    PRIMARY KEY (volume, container)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX volume_uses_container ON volume_uses (container);
`;
