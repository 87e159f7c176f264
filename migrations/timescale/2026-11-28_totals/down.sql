-- Hours with totals cannot be read without knowing of them: sums of plays are empty until `rollup rebuild`, which is to be
-- run before a server.
update rollup_plays set whole = null, hours = '';
