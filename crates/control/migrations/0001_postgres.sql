-- What people decide, on PostgreSQL. The same tables as on SQLite; only the rules of the audit log are written differently.
-- A document is the record as the API shows it, as JSON. A row's `revision` is the `sequence` of the change that made it.
CREATE TABLE experiments (key text PRIMARY KEY, revision bigint NOT NULL, document text NOT NULL);
CREATE TABLE layers (key text PRIMARY KEY, revision bigint NOT NULL, document text NOT NULL);
CREATE TABLE holdouts (key text PRIMARY KEY, revision bigint NOT NULL, document text NOT NULL);
CREATE TABLE flags (key text PRIMARY KEY, revision bigint NOT NULL, document text NOT NULL);
CREATE TABLE saved_groups (key text PRIMARY KEY, revision bigint NOT NULL, document text NOT NULL);
CREATE TABLE sdk_connections (key text PRIMARY KEY, revision bigint NOT NULL, document text NOT NULL);
CREATE TABLE people (key text PRIMARY KEY, revision bigint NOT NULL, document text NOT NULL);
CREATE TABLE policies (key text PRIMARY KEY, revision bigint NOT NULL, document text NOT NULL);
-- `hash`: SHA-256 of the secret, in hex. The secret is nowhere.
CREATE TABLE tokens (id text PRIMARY KEY, person text NOT NULL REFERENCES people (key) ON DELETE CASCADE, hash text NOT NULL, last_used bigint NOT NULL, document text NOT NULL);
CREATE TABLE qa_entries (experiment text NOT NULL REFERENCES experiments (key) ON DELETE CASCADE, unit text NOT NULL, expires_at bigint NOT NULL, document text NOT NULL, PRIMARY KEY (experiment, unit));
-- Times are microseconds since 1970, UTC. The order is `sequence`, because clocks are put back.
CREATE TABLE audit (sequence bigint PRIMARY KEY, at bigint NOT NULL, person text NOT NULL, via text NOT NULL, verb text NOT NULL, kind text NOT NULL, key text NOT NULL, project text NOT NULL, before text NOT NULL, after text NOT NULL, reason text NOT NULL);
CREATE INDEX audit_by_object ON audit (kind, key, sequence);
CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$;
CREATE TRIGGER audit_keeps BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER audit_stays BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
-- What was published last, kept until its file is known to be there.
CREATE TABLE snapshots (revision bigint PRIMARY KEY, content_hash text NOT NULL, document text NOT NULL);
