CREATE TABLE dcap_chains (
  digest BYTEA NOT NULL,
  pem BYTEA NOT NULL,
  CONSTRAINT pk_dcap_chains PRIMARY KEY (digest)
);
CREATE TABLE dcap_changes (
  id INTEGER NOT NULL,
  number BIGINT NOT NULL,
  items BIGINT NOT NULL,
  platforms BIGINT NOT NULL,
  registrations BIGINT NOT NULL,
  policies BIGINT NOT NULL,
  platform_id BIGINT NOT NULL,
  CONSTRAINT pk_dcap_changes PRIMARY KEY (id)
);
CREATE TABLE dcap_items (
  digest BYTEA NOT NULL,
  item_key BYTEA NOT NULL,
  body BYTEA NOT NULL,
  chain BYTEA,
  issued BIGINT,
  expires BIGINT,
  number BYTEA,
  fetched_at BIGINT NOT NULL,
  origin BYTEA NOT NULL,
  CONSTRAINT pk_dcap_items PRIMARY KEY (digest)
);
CREATE TABLE dcap_leases (
  digest BYTEA NOT NULL,
  holder BYTEA NOT NULL,
  expires DOUBLE PRECISION NOT NULL,
  CONSTRAINT pk_dcap_leases PRIMARY KEY (digest)
);
CREATE TABLE dcap_pck_certificates (
  platform_id BIGINT NOT NULL,
  packed BYTEA NOT NULL,
  CONSTRAINT pk_dcap_pck_certificates PRIMARY KEY (platform_id)
);
CREATE TABLE dcap_platforms (
  id BIGINT NOT NULL,
  qe_id BYTEA NOT NULL,
  pce_id BYTEA NOT NULL,
  fmspc BYTEA NOT NULL,
  ca BYTEA NOT NULL,
  encrypted_ppid BYTEA,
  manifest BYTEA,
  chain BYTEA NOT NULL,
  revision BIGINT NOT NULL,
  last_seen BIGINT,
  is_registered BOOLEAN,
  expires BIGINT,
  CONSTRAINT pk_dcap_platforms PRIMARY KEY (id)
);
CREATE INDEX ix_dcap_platforms_expires ON dcap_platforms (expires);
CREATE INDEX ix_dcap_platforms_fmspc_ca ON dcap_platforms (fmspc, ca);
CREATE INDEX ix_dcap_platforms_fmspc_id ON dcap_platforms (fmspc, id);
CREATE INDEX ix_dcap_platforms_last_seen ON dcap_platforms (last_seen);
CREATE UNIQUE INDEX ux_dcap_platforms_qe_id_pce_id ON dcap_platforms (qe_id, pce_id);
CREATE TABLE dcap_policies (
  id BYTEA NOT NULL,
  type INTEGER NOT NULL,
  policy BYTEA NOT NULL,
  is_default BOOLEAN NOT NULL,
  fmspc BYTEA NOT NULL,
  CONSTRAINT pk_dcap_policies PRIMARY KEY (id)
);
CREATE INDEX ix_dcap_policies_fmspc ON dcap_policies (fmspc);
CREATE TABLE dcap_raw_tcbs (
  platform_id BIGINT NOT NULL,
  cpu_svn BYTEA NOT NULL,
  pce_svn BYTEA NOT NULL,
  tcbm BYTEA NOT NULL,
  CONSTRAINT pk_dcap_raw_tcbs PRIMARY KEY (platform_id, cpu_svn, pce_svn)
);
CREATE TABLE dcap_registrations (
  digest BYTEA NOT NULL,
  qe_id BYTEA NOT NULL,
  pce_id BYTEA NOT NULL,
  cpu_svn BYTEA NOT NULL,
  pce_svn BYTEA NOT NULL,
  encrypted_ppid BYTEA,
  manifest BYTEA,
  state BYTEA NOT NULL,
  created BIGINT NOT NULL,
  handed_out BIGINT,
  CONSTRAINT pk_dcap_registrations PRIMARY KEY (digest)
);
CREATE INDEX ix_dcap_registrations_qe_id_pce_id ON dcap_registrations (qe_id, pce_id);
CREATE INDEX ix_dcap_registrations_state_created ON dcap_registrations (state, created);
CREATE TABLE dcap_schema_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT dcap_schema_version_pkc PRIMARY KEY (version_num));
INSERT INTO dcap_changes (id, number, items, platforms, registrations, policies, platform_id) VALUES (0, 0, 0, 0, 0, 0, 0);
INSERT INTO dcap_schema_version (version_num) VALUES ('0002');
