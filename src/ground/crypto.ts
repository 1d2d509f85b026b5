import { closeSync, openSync, readSync } from 'node:fs';
import type { Hash } from 'node:crypto';

/**
 * What we need of node:crypto without an `import` of it, which would load OpenSSL's providers, keys and all, at every start of the
 * program: 6 to 8 ms that most commands have no use for.
 */
export function createHash(algorithm: string): Hash {
  return process.getBuiltinModule('node:crypto').createHash(algorithm);
}

export type { Hash };

/** Random bytes from the kernel. */
export function randomBytes(size: number): Buffer {
  const bytes = Buffer.alloc(size);
  // urandom(4): reads of up to 256 bytes are never short; others are continued.
  const fd = openSync('/dev/urandom', 'r');
  try {
    for (let at = 0; at < size; ) at += readSync(fd, bytes, at, size - at, null);
  } finally {
    closeSync(fd);
  }
  return bytes;
}

/** A random integer from 0 up to, but without, `limit`, each as likely; `limit` up to 2 ** 32. */
export function randomInt(limit: number): number {
  const fair = 2 ** 32 - (2 ** 32 % limit);
  for (;;) {
    const value = randomBytes(4).readUInt32LE();
    if (value < fair) return value % limit;
  }
}
