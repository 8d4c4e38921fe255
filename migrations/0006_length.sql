-- A run may end before its last planned epoch, when val does not get better any more; and what its samplers' epochs came to in steps.
PRAGMA user_version = 6;

ALTER TABLE runs ADD COLUMN max_epochs INTEGER;    -- as planned; `epochs` are those that a succeeded run has. NULL: `epochs`
ALTER TABLE epochs ADD COLUMN steps INTEGER;       -- gradient steps so far; NULL: recorded by an older program
