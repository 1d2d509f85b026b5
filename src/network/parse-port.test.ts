import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isKeelsonError } from '../ground/errors.ts';
import { parseExpose, parsePublish } from './parse-port.ts';

const tcp = { hostIp: '', protocol: 'tcp' } as const;

test('every form of -p', () => {
  const forms: Record<string, ReturnType<typeof parsePublish>> = {
    '80': [{ ...tcp, hostPort: 0, containerPort: 80 }],
    '8080:80': [{ ...tcp, hostPort: 8080, containerPort: 80 }],
    '8080:80/udp': [{ hostIp: '', hostPort: 8080, containerPort: 80, protocol: 'udp' }],
    '8080:80/TCP': [{ ...tcp, hostPort: 8080, containerPort: 80 }],
    ':80': [{ ...tcp, hostPort: 0, containerPort: 80 }],
    '127.0.0.1:8080:80': [{ ...tcp, hostIp: '127.0.0.1', hostPort: 8080, containerPort: 80 }],
    '127.0.0.1::80': [{ ...tcp, hostIp: '127.0.0.1', hostPort: 0, containerPort: 80 }],
    '[::1]:8080:80': [{ ...tcp, hostIp: '::1', hostPort: 8080, containerPort: 80 }],
    '2001:DB8::1:8080:80': [{ ...tcp, hostIp: '2001:db8::1', hostPort: 8080, containerPort: 80 }],
    '[::]::80': [{ ...tcp, hostIp: '::', hostPort: 0, containerPort: 80 }],
    '8000-8001:90-91': [
      { ...tcp, hostPort: 8000, containerPort: 90 },
      { ...tcp, hostPort: 8001, containerPort: 91 },
    ],
    '90-91': [
      { ...tcp, hostPort: 0, containerPort: 90 },
      { ...tcp, hostPort: 0, containerPort: 91 },
    ],
    '8000-8010:80': [{ ...tcp, hostPort: 8000, hostPortEnd: 8010, containerPort: 80 }],
    'published=8080,target=80': [{ ...tcp, hostPort: 8080, containerPort: 80 }],
    'target=53,published=5353,protocol=udp': [{ hostIp: '', hostPort: 5353, containerPort: 53, protocol: 'udp' }],
  };
  for (const [written, parsed] of Object.entries(forms)) assert.deepEqual(parsePublish(written), parsed, written);
});

test('what -p can’t mean is refused in docker’s words', () => {
  const refused: Record<string, string> = {
    '': 'no port specified: <empty>',
    '8080:': 'no port specified: 8080:<empty>',
    'a:80': 'invalid hostPort: a',
    '80:b': 'invalid containerPort: b',
    '70000:80': 'invalid hostPort: 70000',
    '80:65536': 'invalid containerPort: 65536',
    '80:90-80': 'invalid containerPort: 90-80',
    '-1:80': 'invalid hostPort: -1',
    '8000-8001:90-95': 'invalid ranges specified for container and host Ports: 90-95 and 8000-8001',
    'localhost:80:80': 'invalid IP address: localhost',
    '[127.0.0.1]:80:80': 'invalid IP address: [127.0.0.1]',
    '1.2.3:80:80': 'invalid IP address: 1.2.3',
    '80:80/icmp': 'invalid proto: icmp',
    'published=80,80': "invalid publish opts format (should be name=value but got '80')",
    '0x50:80': 'invalid hostPort: 0x50',
    ' 80:80': 'invalid hostPort:  80',
  };
  for (const [written, message] of Object.entries(refused)) {
    assert.throws(
      () => parsePublish(written),
      (error) => isKeelsonError(error, 'invalid-argument') && error.message === message,
      written,
    );
  }
  assert.throws(() => parsePublish('80:80/sctp'), /sctp ports can't be published/);
});

test('--expose takes ports and ranges', () => {
  assert.deepEqual(parseExpose('80'), [{ port: 80, protocol: 'tcp' }]);
  assert.deepEqual(parseExpose('53-54/udp'), [
    { port: 53, protocol: 'udp' },
    { port: 54, protocol: 'udp' },
  ]);
  assert.throws(() => parseExpose('80:80'), /^KeelsonError: invalid port format for --expose: 80:80$/);
  assert.throws(() => parseExpose('x'), /invalid range format for --expose: x/);
  assert.throws(() => parseExpose('80/icmp'), /invalid proto: icmp/);
});
