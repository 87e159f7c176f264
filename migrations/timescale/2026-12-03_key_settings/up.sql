-- The name, the sites, patterns of pages and limits of a key; null for none.
alter table keys add column settings jsonb;
