-- What `--set` changed, apart from the text of the file. NULL: recorded by an older program, which appended the changes to the text.
PRAGMA user_version = 5;

ALTER TABLE sweeps ADD COLUMN changes TEXT CHECK (changes IS NULL OR json_valid(changes));
