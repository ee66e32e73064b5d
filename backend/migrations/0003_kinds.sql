-- Fine-tunes were the only kind before.
ALTER TABLE jobs ADD COLUMN kind TEXT NOT NULL DEFAULT 'fine_tune';
