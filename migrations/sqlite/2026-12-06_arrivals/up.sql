-- Where the viewer comes from, as JSON of texts; null if nothing is known.
alter table open_sessions add column arrival text;
