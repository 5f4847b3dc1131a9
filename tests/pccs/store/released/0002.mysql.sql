CREATE TABLE dcap_chains (
  digest VARBINARY(32) NOT NULL,
  pem LONGBLOB NOT NULL,
  CONSTRAINT pk_dcap_chains PRIMARY KEY (digest)
)ENGINE=InnoDB;
CREATE TABLE dcap_changes (
  id INTEGER NOT NULL,
  number BIGINT NOT NULL,
  items BIGINT NOT NULL,
  platforms BIGINT NOT NULL,
  registrations BIGINT NOT NULL,
  policies BIGINT NOT NULL,
  platform_id BIGINT NOT NULL,
  CONSTRAINT pk_dcap_changes PRIMARY KEY (id)
)ENGINE=InnoDB;
CREATE TABLE dcap_items (
  digest VARBINARY(32) NOT NULL,
  item_key LONGBLOB NOT NULL,
  body LONGBLOB NOT NULL,
  chain VARBINARY(32),
  issued BIGINT,
  expires BIGINT,
  number VARBINARY(64),
  fetched_at BIGINT NOT NULL,
  origin LONGBLOB NOT NULL,
  CONSTRAINT pk_dcap_items PRIMARY KEY (digest)
)ENGINE=InnoDB;
CREATE TABLE dcap_leases (
  digest VARBINARY(32) NOT NULL,
  holder LONGBLOB NOT NULL,
  expires DOUBLE NOT NULL,
  CONSTRAINT pk_dcap_leases PRIMARY KEY (digest)
)ENGINE=InnoDB;
CREATE TABLE dcap_pck_certificates (
  platform_id BIGINT NOT NULL,
  packed LONGBLOB NOT NULL,
  CONSTRAINT pk_dcap_pck_certificates PRIMARY KEY (platform_id)
)ENGINE=InnoDB;
CREATE TABLE dcap_platforms (
  id BIGINT NOT NULL,
  qe_id VARBINARY(1040) NOT NULL,
  pce_id VARBINARY(16) NOT NULL,
  fmspc VARBINARY(6) NOT NULL,
  ca VARBINARY(16) NOT NULL,
  encrypted_ppid LONGBLOB,
  manifest LONGBLOB,
  chain VARBINARY(32) NOT NULL,
  revision BIGINT NOT NULL,
  last_seen BIGINT,
  is_registered BOOL,
  expires BIGINT,
  CONSTRAINT pk_dcap_platforms PRIMARY KEY (id)
)ENGINE=InnoDB;
CREATE INDEX ix_dcap_platforms_expires ON dcap_platforms (expires);
CREATE INDEX ix_dcap_platforms_fmspc_ca ON dcap_platforms (fmspc, ca);
CREATE INDEX ix_dcap_platforms_fmspc_id ON dcap_platforms (fmspc, id);
CREATE INDEX ix_dcap_platforms_last_seen ON dcap_platforms (last_seen);
CREATE UNIQUE INDEX ux_dcap_platforms_qe_id_pce_id ON dcap_platforms (qe_id, pce_id);
CREATE TABLE dcap_policies (
  id VARBINARY(96) NOT NULL,
  type INTEGER NOT NULL,
  policy LONGBLOB NOT NULL,
  is_default BOOL NOT NULL,
  fmspc VARBINARY(6) NOT NULL,
  CONSTRAINT pk_dcap_policies PRIMARY KEY (id)
)ENGINE=InnoDB;
CREATE INDEX ix_dcap_policies_fmspc ON dcap_policies (fmspc);
CREATE TABLE dcap_raw_tcbs (
  platform_id BIGINT NOT NULL,
  cpu_svn VARBINARY(32) NOT NULL,
  pce_svn VARBINARY(4) NOT NULL,
  tcbm VARBINARY(36) NOT NULL,
  CONSTRAINT pk_dcap_raw_tcbs PRIMARY KEY (platform_id, cpu_svn, pce_svn)
)ENGINE=InnoDB;
CREATE TABLE dcap_registrations (
  digest VARBINARY(32) NOT NULL,
  qe_id VARBINARY(1040) NOT NULL,
  pce_id VARBINARY(16) NOT NULL,
  cpu_svn VARBINARY(32) NOT NULL,
  pce_svn VARBINARY(4) NOT NULL,
  encrypted_ppid LONGBLOB,
  manifest LONGBLOB,
  state VARBINARY(16) NOT NULL,
  created BIGINT NOT NULL,
  handed_out BIGINT,
  CONSTRAINT pk_dcap_registrations PRIMARY KEY (digest)
)ENGINE=InnoDB;
CREATE INDEX ix_dcap_registrations_qe_id_pce_id ON dcap_registrations (qe_id, pce_id);
CREATE INDEX ix_dcap_registrations_state_created ON dcap_registrations (state, created);
CREATE TABLE dcap_schema_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT dcap_schema_version_pkc PRIMARY KEY (version_num));
INSERT INTO dcap_changes (id, number, items, platforms, registrations, policies, platform_id) VALUES (0, 0, 0, 0, 0, 0, 0);
INSERT INTO dcap_schema_version (version_num) VALUES ('0002');
