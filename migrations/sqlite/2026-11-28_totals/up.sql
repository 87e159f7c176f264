-- Sums of whole days begin with what all view times come to. Those without are made anew: of a day that goes on with its
-- next session, of the others by `rollup rebuild`. Until then they are answered from their hours, which takes longer.
update rollup_plays set whole = null where whole is not null;
