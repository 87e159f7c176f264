-- Hours with totals cannot be read without knowing of them: sums of plays are empty until `rollup rebuild`.
update rollup_plays set whole = null, hours = '';
