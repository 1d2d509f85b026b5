/** What crun's callers know and runc has not: more words of the command line, and configs that crun takes. */
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Oci } from '../support/oci.ts';

const skip = process.getuid?.() === 0 ? false : 'needs root';

test('delete --regex deletes what the pattern is found in, and nothing else', { skip }, async () => {
  await using oci = new Oci();
  for (const id of ['web-1', 'web-2', 'db-1'])
    assert.equal((await oci.command('run', '-d', '-b', oci.bundle(['sleep', '100']), id)).code, 0);
  const refused = await oci.command('delete', '--regex', '^web-1$');
  assert.match(refused.stderr, /cannot delete container web-1 that is not stopped: running/);
  assert.equal((await oci.command('delete', '-f', '--regex', '^web-')).code, 0);
  assert.equal((await oci.command('list', '-q')).stdout, 'db-1\n');
  const { code, stderr } = await oci.command('delete', '--regex', '(');
  assert.equal(code, 1);
  assert.match(stderr, /invalid regular expression \(/);
});

test('a working directory that is not there is made', { skip }, async () => {
  await using oci = new Oci();
  const bundle = oci.bundle(['pwd'], (spec) => ({
    ...spec,
    process: { ...spec.process!, cwd: '/not/there' },
    root: { path: 'rootfs', readonly: true },
  }));
  assert.deepEqual(await oci.command('run', '-b', bundle, 'a'), { code: 0, stdout: '/not/there\n', stderr: '' });
});

test('a device whose path ends in a slash is no trouble', { skip }, async () => {
  await using oci = new Oci();
  const bundle = oci.bundle(['stat', '-c', '%F', '/mnt'], (spec) => ({
    ...spec,
    linux: { ...spec.linux, devices: [{ path: '/mnt/', type: 'c', major: 1, minor: 3 }] },
  }));
  assert.deepEqual(await oci.command('run', '-b', bundle, 'a'), {
    code: 0,
    stdout: 'character special file\n',
    stderr: '',
  });
  const taken = oci.bundle(['stat', '-c', '%F', '/mnt'], (spec) => ({
    ...spec,
    linux: { ...spec.linux, devices: [{ path: '/mnt/', type: 'c', major: 1, minor: 3 }] },
  }));
  mkdirSync(join(taken, 'rootfs/mnt'));
  assert.equal((await oci.command('run', '-b', taken, 'a')).stdout, 'directory\n');
});

test('domainname and a sysctl that says otherwise are refused, before anything is made', { skip }, async () => {
  await using oci = new Oci();
  const bundle = (value: string) =>
    oci.bundle(['cat', '/proc/sys/kernel/domainname'], (spec) => ({
      ...spec,
      domainname: 'there',
      linux: { ...spec.linux, sysctl: { 'kernel.domainname': value } },
    }));
  const { code, stderr } = await oci.command('run', '-b', bundle('elsewhere'), 'a');
  assert.equal(code, 1);
  assert.match(stderr, /linux\.sysctl\[.*kernel\.domainname.*\]: .*elsewhere.* conflicts with .*domainname.*there/);
  assert.equal((await oci.command('run', '-b', bundle('there'), 'a')).stdout, 'there\n');
});
