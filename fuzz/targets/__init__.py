"""One module a target: `check(data)` raises where a rule does not hold; `WATCHED` names the packages it is about."""
