import type { DeviceSpec, RestartPolicy, Ulimit } from '../../engine/types.ts';
import { KeelsonError } from '../../ground/errors.ts';
import { parseInteger } from '../flags.ts';

const ulimitNames = [
  'as',
  'core',
  'cpu',
  'data',
  'fsize',
  'locks',
  'memlock',
  'msgqueue',
  'nice',
  'nofile',
  'nproc',
  'rss',
  'rtprio',
  'rttime',
  'sigpending',
  'stack',
];

/** Docker's `--ulimit`: `name=soft[:hard]`, -1 for unlimited. Throws in docker's words. */
export function parseUlimit(text: string): Ulimit {
  const equals = text.indexOf('=');
  if (equals < 0) throw new Error(`invalid ulimit argument: ${text}`);
  const name = text.slice(0, equals);
  if (!ulimitNames.includes(name)) throw new Error(`invalid ulimit type: ${name}`);
  const limits = text.slice(equals + 1).split(':');
  if (limits.length > 2)
    throw new Error(
      `too many limit value arguments - ${text.slice(equals + 1)}, can only have up to two, \`soft[:hard]\``,
    );
  const [soft = 0, hard = soft] = limits.map((limit) => parseInteger(limit));
  if (hard !== -1 && (soft === -1 || soft > hard))
    throw new Error(
      soft === -1
        ? `ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: ${hard}`
        : `ulimit soft limit must be less than or equal to hard limit: ${soft} > ${hard}`,
    );
  return { name, soft, hard };
}

function invalid(message: string): KeelsonError {
  return new KeelsonError('invalid-argument', message);
}

/** Docker's `--device`: `host`, `host:container`, `host:permissions` or `host:container:permissions`. */
export function parseDevice(text: string): DeviceSpec {
  const isMode = (word: string): boolean => /^[rwm]{1,3}$/.test(word) && new Set(word).size === word.length;
  const parts = text.split(':');
  const [hostPath = '', second, third] = parts;
  if (parts.length > 3 || hostPath === '') throw invalid(`bad format for path: ${text}`);
  if (third !== undefined && !isMode(third)) throw invalid(`bad mode specified: ${third}`);
  const secondIsMode = second !== undefined && third === undefined && isMode(second);
  const containerPath = second === undefined || secondIsMode ? hostPath : second;
  if (!containerPath.startsWith('/')) throw invalid(`${containerPath} is not an absolute path`);
  return { hostPath, containerPath, permissions: third ?? (secondIsMode ? second : 'rwm') };
}

/** Docker's `--restart`: `no`, `always`, `unless-stopped`, `on-failure[:count]`. The engine checks the name. */
export function parseRestart(text: string): RestartPolicy {
  if (text === '') return { name: 'no', maximumRetryCount: 0 };
  const colon = text.indexOf(':');
  const name = colon < 0 ? text : text.slice(0, colon);
  if (name === '') throw invalid('invalid restart policy format: no policy provided before colon');
  let maximumRetryCount = 0;
  if (colon >= 0 && text.length > colon + 1) {
    const count = text.slice(colon + 1);
    if (!/^[+-]?[0-9]{1,9}$/.test(count))
      throw invalid('invalid restart policy format: maximum retry count must be an integer');
    maximumRetryCount = Number(count);
  }
  return { name: name as RestartPolicy['name'], maximumRetryCount };
}
