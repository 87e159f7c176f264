alter table keys drop column settings;
