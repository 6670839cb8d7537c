-- What power found for a launch, by the experiment's key, on both databases. The experiment may not be there yet: its file is enough to plan by.
CREATE TABLE power_reports (key text PRIMARY KEY, revision bigint NOT NULL, document text NOT NULL);
