-- Whole days are answered from their hours until `rollup rebuild`.
alter table rollup_plays drop column head, drop column tail, add column whole bytea;
