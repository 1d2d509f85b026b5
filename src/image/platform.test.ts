import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKeelsonError } from '../ground/errors.ts';
import type { Descriptor } from '../spec/image.ts';
import { formatPlatform, hostPlatform, parsePlatform, pickManifest, runnable } from './platform.ts';

test('platforms are read in every spelling that containerd knows', () => {
  const host = hostPlatform().architecture;
  const normal: Record<string, string> = {
    'linux/x86_64': 'linux/amd64',
    'linux/x86-64': 'linux/amd64',
    'linux/amd64/v1': 'linux/amd64',
    'linux/amd64/v3': 'linux/amd64/v3',
    'linux/i386': 'linux/386',
    'linux/aarch64': 'linux/arm64',
    'linux/arm64/v8': 'linux/arm64',
    'linux/arm64/v9': 'linux/arm64/v9',
    'linux/armhf': 'linux/arm/v7',
    'linux/armel': 'linux/arm/v6',
    'linux/arm': 'linux/arm/v7',
    'linux/arm/6': 'linux/arm/v6',
    'Linux/ARM64': 'linux/arm64',
    'linux/riscv64': 'linux/riscv64',
    'windows/amd64': 'windows/amd64',
    linux: `linux/${host}`,
    macos: `darwin/${host}`,
    arm64: 'linux/arm64',
    armhf: 'linux/arm/v7',
  };
  for (const [typed, expected] of Object.entries(normal)) {
    assert.equal(formatPlatform(parsePlatform(typed)), expected, typed);
  }
  for (const wrong of ['', '/', 'linux/', 'a/b/c/d', 'linux/arm 64', 'linux/../x', 'all\n']) {
    assert.throws(
      () => parsePlatform(wrong),
      (e: unknown) => isKeelsonError(e, 'invalid-argument'),
      wrong,
    );
  }
});

test('a machine runs its own platform first, then older variants and its 32-bit kin', () => {
  const list = (text: string): string => runnable(parsePlatform(text)).map(formatPlatform).join(' ');
  assert.equal(list('linux/amd64'), 'linux/amd64 linux/386');
  assert.equal(list('linux/amd64/v3'), 'linux/amd64/v3 linux/amd64/v2 linux/amd64 linux/386');
  assert.equal(list('linux/arm64'), 'linux/arm64 linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5');
  assert.equal(list('linux/arm/v6'), 'linux/arm/v6 linux/arm/v5');
  assert.equal(list('linux/s390x'), 'linux/s390x');
});

function entry(platform: string | undefined, n: number, annotations?: Record<string, string>): Descriptor {
  const [os = '', architecture = '', variant] = platform?.split('/') ?? [];
  return {
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    digest: `sha256:${String(n).padStart(64, '0')}`,
    size: n,
    ...(platform !== undefined && { platform: { os, architecture, ...(variant && { variant }) } }),
    ...(annotations && { annotations }),
  };
}

test('the best entry of an index is picked, whatever its place', () => {
  const index = [entry('linux/386', 1), entry('linux/arm/v7', 2), entry('linux/amd64', 3), entry('linux/arm64/v8', 4)];
  const picked = (text: string): number => pickManifest(index, parsePlatform(text), 'x').size;
  assert.equal(picked('linux/amd64'), 3);
  assert.equal(picked('linux/386'), 1);
  assert.equal(picked('linux/arm64'), 4);
  assert.equal(picked('linux/arm/v8'), 2);
  assert.throws(
    () => picked('linux/s390x'),
    /no matching manifest for linux\/s390x in x: it has linux\/386, linux\/arm\/v7, linux\/amd64, linux\/arm64\/v8/,
  );
});

test('attestations are never picked, entries without a platform only as a last resort', () => {
  const note = { 'vnd.docker.reference.type': 'attestation-manifest' };
  const host = parsePlatform('linux/amd64');
  const attested = [entry('unknown/unknown', 1, note), entry('linux/amd64', 2)];
  assert.equal(pickManifest(attested, host, 'x').size, 2);
  assert.throws(() => pickManifest([entry('unknown/unknown', 1)], host, 'x'), /it has no images/);
  assert.equal(pickManifest([entry(undefined, 1), entry('linux/amd64', 2)], host, 'x').size, 2);
  assert.equal(pickManifest([entry(undefined, 1), entry('linux/arm64', 2)], host, 'x').size, 1);
});
