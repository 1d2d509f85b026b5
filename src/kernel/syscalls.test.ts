import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { isKeelsonError } from '../ground/errors.ts';
import { findSyscall, hostArch, syscallName, syscallNames, syscallNumber, x32Bit } from './syscalls.ts';

test('numbers of both machines and of the sub-architectures', () => {
  assert.equal(syscallNumber('x86_64', 'read'), 0);
  assert.equal(syscallNumber('x86_64', 'pivot_root'), 155);
  assert.equal(syscallNumber('x86_64', 'clone3'), 435);
  assert.equal(syscallNumber('x86_64', 'mount_setattr'), 442);
  assert.equal(syscallNumber('aarch64', 'openat'), 56);
  assert.equal(syscallNumber('aarch64', 'pivot_root'), 41);
  assert.equal(syscallNumber('aarch64', 'clone3'), 435);
  assert.equal(syscallNumber('aarch64', 'mount_setattr'), 442);
  assert.equal(syscallNumber('i386', 'socketcall'), 102);
  assert.equal(syscallNumber('i386', 'socket'), 359);
  assert.equal(syscallNumber('x32', 'read'), x32Bit);
  assert.equal(syscallNumber('x32', 'execve'), x32Bit + 520);
  assert.equal(syscallNumber('arm', 'set_tls'), 0x0f0005);
  assert.equal(syscallNumber('arm', 'sync_file_range2'), syscallNumber('arm', 'arm_sync_file_range'));
});

test('a name and its number lead to each other', () => {
  for (const arch of ['x86_64', 'aarch64', 'i386', 'x32', 'arm'] as const) {
    const names = syscallNames(arch);
    assert.ok(names.length > 300, `${arch}: ${names.length}`);
    for (const name of names) assert.equal(syscallName(arch, syscallNumber(arch, name)), name);
  }
  assert.equal(syscallName('x86_64', 400), undefined);
});

test('an unknown name is unsupported', () => {
  assert.equal(findSyscall('aarch64', 'open'), undefined);
  assert.throws(
    () => syscallNumber('aarch64', 'open'),
    (e) => isKeelsonError(e, 'unsupported') && /aarch64.*open/.test(e.message),
  );
  assert.throws(
    () => hostArch('sparc'),
    (e) => isKeelsonError(e, 'unsupported'),
  );
});

const header = '/usr/include/x86_64-linux-gnu/asm/unistd_64.h';
test("this machine's header agrees", { skip: existsSync(header) ? false : `no ${header}` }, () => {
  let checked = 0;
  for (const [, name, number] of readFileSync(header, 'utf8').matchAll(/^#define __NR_(\w+) (\d+)$/gm)) {
    assert.equal(findSyscall('x86_64', name as string), Number(number), name);
    checked++;
  }
  assert.ok(checked > 300);
});
