import { KeelsonError } from '../ground/errors.ts';
import { printable } from './names.ts';
import type { ContainerConfig } from './types.ts';

/** The json-file driver's limits, as the keeper takes them: bytes, 0 for none; at least one file. */
export interface LogLimits {
  readonly maxSize: number;
  readonly maxFiles: number;
}

/** Checks `--log-opt` as docker's json-file driver does, throws `invalid-argument`; undefined for the driver `none`. */
export function checkLogOptions(config: Pick<ContainerConfig, 'logDriver' | 'logOptions'>): LogLimits | undefined {
  const driver = config.logDriver ?? 'json-file';
  const options = Object.entries(config.logOptions ?? {});
  if (driver === 'none') return undefined;
  if (driver !== 'json-file') {
    throw new KeelsonError('unsupported', `logger: no log driver named '${printable(driver)}' is registered`);
  }
  const unknown = options.find(([key]) => key !== 'max-size' && key !== 'max-file');
  if (unknown) throw bad(`unknown log opt '${printable(unknown[0])}' for json-file log driver`);
  const { 'max-size': size, 'max-file': files } = config.logOptions ?? {};
  const maxSize = size === undefined ? 0 : parseSize(size);
  const maxFiles = files === undefined ? 1 : Number(files);
  if (!Number.isInteger(maxFiles) || maxFiles > 10_000)
    throw bad(`invalid log opt max-file: ${printable(files ?? '')}`);
  if (maxFiles < 1) throw bad('max-file cannot be less than 1');
  if (maxFiles > 1 && maxSize === 0) throw bad('max-file can only be set together with max-size');
  return { maxSize, maxFiles };
}

/** `10m`, `1g`, `512k`, `100`; -1 means no limit. */
function parseSize(text: string): number {
  if (text === '-1') return 0;
  const match = /^(\d+(?:\.\d+)?) ?([kmgt]?)(?:i?b)?$/i.exec(text);
  const power = ' kmgt'.indexOf(match?.[2]?.toLowerCase() || ' ');
  const bytes = Math.floor(Number(match?.[1]) * 1024 ** power);
  if (!match || !Number.isSafeInteger(bytes) || bytes < 1) throw bad(`invalid size: '${printable(text)}'`);
  return bytes;
}

function bad(message: string): KeelsonError {
  return new KeelsonError('invalid-argument', message);
}
