CREATE TABLE cursors (
 source TEXT NOT NULL,
 segment BIGINT NOT NULL,
 offset_bytes BIGINT NOT NULL,
 PRIMARY KEY (source)
);
CREATE TABLE epochs (
 number INTEGER NOT NULL,
 state TEXT NOT NULL,
 opened_at_ms BIGINT NOT NULL,
 ends_at_ms BIGINT NOT NULL,
 closed_at_ms BIGINT,
 summary TEXT,
 summary_digest TEXT,
 PRIMARY KEY (number)
);
CREATE TABLE followed (
 publisher TEXT NOT NULL,
 epoch INTEGER NOT NULL,
 summary TEXT NOT NULL,
 PRIMARY KEY (publisher)
);
CREATE TABLE requests (
 request_id TEXT NOT NULL,
 miner_hotkey TEXT NOT NULL,
 epoch INTEGER NOT NULL,
 finished_at_ms BIGINT NOT NULL,
 facts TEXT NOT NULL,
 record TEXT,
 auditable BOOLEAN NOT NULL,
 challenge_block BIGINT,
 challenge_block_hash TEXT,
 challenge_block_ms BIGINT,
 draw FLOAT(53),
 PRIMARY KEY (request_id, miner_hotkey)
);
CREATE INDEX requests_by_draw ON requests (epoch, draw);
CREATE TABLE verdicts (
 request_id TEXT NOT NULL,
 miner_hotkey TEXT NOT NULL,
 epoch INTEGER NOT NULL,
 outcome TEXT NOT NULL,
 log_e FLOAT(53) NOT NULL,
 body TEXT NOT NULL,
 PRIMARY KEY (request_id, miner_hotkey)
);
CREATE INDEX ix_verdicts_epoch ON verdicts (epoch);
CREATE TABLE weights (
 epoch INTEGER NOT NULL,
 entries TEXT NOT NULL,
 state TEXT NOT NULL,
 detail TEXT NOT NULL,
 sent_at_block BIGINT,
 PRIMARY KEY (epoch)
);
CREATE TABLE schema_version (version INTEGER NOT NULL);
INSERT INTO schema_version VALUES (2);
