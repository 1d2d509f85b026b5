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
