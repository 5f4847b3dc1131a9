CREATE TABLE dcap_chains (
  digest BLOB NOT NULL,
  pem BLOB NOT NULL,
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
  digest BLOB NOT NULL,
  item_key BLOB NOT NULL,
  body BLOB NOT NULL,
  chain BLOB,
  issued BIGINT,
  expires BIGINT,
  number BLOB,
  fetched_at BIGINT NOT NULL,
  origin BLOB NOT NULL,
  CONSTRAINT pk_dcap_items PRIMARY KEY (digest)
);
CREATE TABLE dcap_leases (
  digest BLOB NOT NULL,
  holder BLOB NOT NULL,
  expires DOUBLE NOT NULL,
  CONSTRAINT pk_dcap_leases PRIMARY KEY (digest)
);
CREATE TABLE dcap_pck_certificates (
  platform_id INTEGER NOT NULL,
  packed BLOB NOT NULL,
  CONSTRAINT pk_dcap_pck_certificates PRIMARY KEY (platform_id)
);
CREATE TABLE dcap_platforms (
  id INTEGER NOT NULL,
  qe_id BLOB NOT NULL,
  pce_id BLOB NOT NULL,
  fmspc BLOB NOT NULL,
  ca BLOB NOT NULL,
  encrypted_ppid BLOB,
  manifest BLOB,
  chain BLOB NOT NULL,
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
  id BLOB NOT NULL,
  type INTEGER NOT NULL,
  policy BLOB NOT NULL,
  is_default BOOLEAN NOT NULL,
  fmspc BLOB NOT NULL,
  CONSTRAINT pk_dcap_policies PRIMARY KEY (id)
);
CREATE INDEX ix_dcap_policies_fmspc ON dcap_policies (fmspc);
CREATE TABLE dcap_raw_tcbs (
  platform_id BIGINT NOT NULL,
  cpu_svn BLOB NOT NULL,
  pce_svn BLOB NOT NULL,
  tcbm BLOB NOT NULL,
  CONSTRAINT pk_dcap_raw_tcbs PRIMARY KEY (platform_id, cpu_svn, pce_svn)
)
 WITHOUT ROWID;
CREATE TABLE dcap_registrations (
  digest BLOB NOT NULL,
  qe_id BLOB NOT NULL,
  pce_id BLOB NOT NULL,
  cpu_svn BLOB NOT NULL,
  pce_svn BLOB NOT NULL,
  encrypted_ppid BLOB,
  manifest BLOB,
  state BLOB NOT NULL,
  created BIGINT NOT NULL,
  handed_out BIGINT,
  CONSTRAINT pk_dcap_registrations PRIMARY KEY (digest)
);
CREATE INDEX ix_dcap_registrations_qe_id_pce_id ON dcap_registrations (qe_id, pce_id);
CREATE INDEX ix_dcap_registrations_state_created ON dcap_registrations (state, created);
CREATE TABLE dcap_schema_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT dcap_schema_version_pkc PRIMARY KEY (version_num));
INSERT INTO dcap_changes (id, number, items, platforms, registrations, policies, platform_id) VALUES (0, 0, 0, 0, 0, 0, 0);
INSERT INTO dcap_schema_version (version_num) VALUES ('0002');
