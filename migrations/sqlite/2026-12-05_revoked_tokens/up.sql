-- Access tokens that are refused, until they would have expired (Unix milliseconds).
create table revoked_tokens (id text primary key not null, until_ms integer not null) strict, without rowid;
