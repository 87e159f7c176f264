-- Sums of whole days are in two parts, of which most reports read the first only: what all plays come to with the shortest
-- view times, and the other view times. `rollup rebuild` makes those of before anew; until then whole days are answered
-- from their hours, which takes longer, and `rollup verify` names them.
alter table rollup_plays drop column whole, add column head bytea, add column tail bytea;
