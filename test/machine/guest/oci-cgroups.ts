import assert from 'node:assert/strict';
import { before } from 'node:test';
import { ociCgroupSuite } from '../../support/oci-cgroup-suite.ts';
import { Oci } from '../../support/oci.ts';

before(async () => {
  // The planner's first start takes longer here than a front has patience for.
  await using oci = new Oci();
  for (let tries = 0; (await oci.command('--version')).code !== 0; tries++) assert.ok(tries < 10, 'no planner');
});

ociCgroupSuite();
