import { readFileSync } from 'node:fs';

/** Of the package: from src/api/oci or dist/api/oci it is three folders up, from the bundle in dist/ one. */
function packageVersion(): string {
  for (const path of ['../package.json', '../../../package.json']) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as {
        name: string;
        version: string;
      };
      if (name === 'keelson') return version;
    } catch {
      // not there
    }
  }
  return '0.0.0';
}

export const release: string = packageVersion();

/** Of the checkout that this runs from; `unknown` for a package. */
export function commit(): string {
  for (const up of ['../.git/', '../../../.git/']) {
    const read = (name: string): string => readFileSync(new URL(up + name, import.meta.url), 'utf8').trim();
    try {
      const head = read('HEAD');
      if (!head.startsWith('ref: ')) return head;
      const ref = head.slice(5);
      try {
        return read(ref);
      } catch {
        const packed = read('packed-refs');
        const line = packed.split('\n').find((entry) => entry.endsWith(` ${ref}`));
        if (line !== undefined) return line.split(' ', 1)[0] ?? 'unknown';
      }
    } catch {
      // not there
    }
  }
  return 'unknown';
}
