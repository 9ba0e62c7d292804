-- One database with both tables, as in the originals: a licence refers to its organization.
-- Every service runs this; the row in `seeded` makes sure that the initial rows come once.
CREATE TABLE IF NOT EXISTS organizations (
    organization_id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    contact_name TEXT NOT NULL,
    contact_email TEXT NOT NULL,
    contact_phone TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS licenses (
    license_id TEXT NOT NULL PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (organization_id),
    description TEXT,
    product_name TEXT NOT NULL,
    license_type TEXT NOT NULL,
    comment TEXT
);
CREATE TABLE IF NOT EXISTS seeded (seed INTEGER NOT NULL PRIMARY KEY);
