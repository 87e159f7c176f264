-- The name, the sites, patterns of pages and limits of a key, as JSON; null for none.
alter table keys add column settings text;
