-- Sums of whole days begin with what all view times come to, and hours do where that pays. `rollup rebuild` makes those of
-- before anew; until then whole days are answered from their hours, which takes longer, and `rollup verify` names them.
update rollup_plays set whole = null where whole is not null;
