import { readFileSync } from 'node:fs';
import { release } from 'node:os';

/** Docker's API whose words and documents are spoken. */
export const apiVersion = '1.51';
const minimumApiVersion = '1.24';

/** From the package's own description, beside the bundle or above the source. */
export function keelsonVersion(): string {
  for (const place of ['../package.json', '../../package.json']) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(place, import.meta.url), 'utf8')) as Record<
        string,
        string
      >;
      if (name === 'keelson' && version !== undefined) return version;
    } catch {
      // Not there: the next place.
    }
  }
  return 'unknown';
}

/** The document of `version --format`: there is no daemon, so client and server are one. */
export function versionDocument(): object {
  const arch = { x64: 'amd64', arm64: 'arm64' }[process.arch as 'x64'] ?? process.arch;
  const version = keelsonVersion();
  const common = { Version: version, ApiVersion: apiVersion, Os: 'linux', Arch: arch, NodeVersion: process.version };
  return {
    Client: { ...common, DefaultAPIVersion: apiVersion, Context: 'default' },
    Server: {
      Platform: { Name: 'Keelson' },
      ...common,
      MinAPIVersion: minimumApiVersion,
      KernelVersion: release(),
      Experimental: false,
    },
  };
}
