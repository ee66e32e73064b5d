-- What a run was expected to need before it began, and what it took.
ALTER TABLE jobs ADD COLUMN planned TEXT;
ALTER TABLE jobs ADD COLUMN measured TEXT;
