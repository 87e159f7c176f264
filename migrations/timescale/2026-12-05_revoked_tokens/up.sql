create table revoked_tokens (id text primary key, until timestamptz not null);

comment on table revoked_tokens is 'Access tokens that are refused, until they would have expired.';
