alter table open_sessions drop column arrival;
