import { KeelsonError } from '../ground/errors.ts';
import type { LinuxDeviceRule } from '../spec/runtime.ts';

/** A rule about some devices: numbers absent mean all. */
export interface DeviceAccess {
  readonly allow: boolean;
  readonly type: 'b' | 'c';
  readonly major?: number;
  readonly minor?: number;
  /** Any of `rwm`. */
  readonly access: string;
}

/** What becomes of a device access: by the last of `rules` that speaks of it, else by `allowOthers`. */
export interface DevicePolicy {
  readonly allowOthers: boolean;
  readonly rules: readonly DeviceAccess[];
}

const node = (major: number, minor?: number): DeviceAccess =>
  minor === undefined
    ? { allow: true, type: 'c', major, access: 'rwm' }
    : { allow: true, type: 'c', major, minor, access: 'rwm' };

/** What every container may use (config-linux.md#default-devices), and mknod(2) of anything, as runc and crun have it. */
const always: readonly DeviceAccess[] = [
  { allow: true, type: 'c', access: 'm' },
  { allow: true, type: 'b', access: 'm' },
  node(1, 3), // /dev/null
  node(1, 5), // /dev/zero
  node(1, 7), // /dev/full
  node(1, 8), // /dev/random
  node(1, 9), // /dev/urandom
  node(5, 0), // /dev/tty
  node(5, 1), // /dev/console
  node(5, 2), // /dev/ptmx
  node(136), // /dev/pts/*
  node(10, 200), // /dev/net/tun: not in the specification, but callers rely on its being there
];

/** The policy of `linux.resources.devices`: nothing but the default devices, unless the rules say otherwise. */
export function devicePolicy(rules: readonly LinuxDeviceRule[]): DevicePolicy {
  let allowOthers = false;
  let kept: DeviceAccess[] = [];
  for (const { allow, type, major, minor, access } of rules) {
    const all = (access ?? '').replace(/[^rwm]/g, '') || 'rwm';
    if (type === undefined || type === 'a') {
      // The kernel reads `a` as everything, whatever else the rule says, and forgets what came before.
      allowOthers = allow;
      kept = [];
      continue;
    }
    kept.push({
      allow,
      type,
      access: all,
      ...(major === undefined || major < 0 ? {} : { major }),
      ...(minor === undefined || minor < 0 ? {} : { minor }),
    });
  }
  const repeated = (rule: DeviceAccess) =>
    always.some((a) => a.allow === rule.allow && deviceLine(a) === deviceLine(rule));
  return { allowOthers, rules: allowOthers ? kept : [...kept.filter((rule) => !repeated(rule)), ...always] };
}

/** A rule as version 1's devices.allow and devices.deny take it. */
export function deviceLine({ type, major, minor, access }: DeviceAccess): string {
  return `${type} ${major ?? '*'}:${minor ?? '*'} ${access}`;
}

/**
 * Throws `unsupported` for a policy that version 1 can't express: it keeps a list of exceptions and silently ignores one that takes
 * part of another back.
 */
export function checkExceptions(policy: DevicePolicy): void {
  for (const [i, rule] of policy.rules.entries()) {
    if (rule.allow !== policy.allowOthers) continue;
    const hole = policy.rules
      .slice(0, i)
      .find((earlier) => earlier.allow !== rule.allow && covers(earlier, rule) && !sameDevices(earlier, rule));
    if (hole) {
      const [word, other] = rule.allow ? ['allow', 'denied'] : ['deny', 'allowed'];
      throw new KeelsonError(
        'unsupported',
        `cgroup v1 cannot ${word} the devices "${deviceLine(rule)}" after "${deviceLine(hole)}" was ${other}`,
      );
    }
  }
}

function covers(wide: DeviceAccess, narrow: DeviceAccess): boolean {
  return (
    wide.type === narrow.type &&
    (wide.major === undefined || narrow.major === undefined || wide.major === narrow.major) &&
    (wide.minor === undefined || narrow.minor === undefined || wide.minor === narrow.minor) &&
    ['r', 'w', 'm'].some((a) => narrow.access.includes(a) && wide.access.includes(a))
  );
}

function sameDevices(a: DeviceAccess, b: DeviceAccess): boolean {
  return a.type === b.type && a.major === b.major && a.minor === b.minor;
}

/**
 * A policy as systemd's DeviceAllow= entries (path, access); `allowed` is undefined where everything is, and not `exact` where rules take back part of
 * others or name minor numbers of every major one, for which it has no words.
 */
export function deviceAllowList(given: readonly LinuxDeviceRule[]): {
  readonly allowed: readonly (readonly [string, string])[] | undefined;
  readonly exact: boolean;
} {
  const { allowOthers, rules } = devicePolicy(given);
  const told = rules.filter((rule) => rule.allow && (rule.major !== undefined || rule.minor === undefined));
  const allowed = told.map(({ type, major, minor, access }): readonly [string, string] => {
    const word = type === 'b' ? 'block' : 'char';
    if (major === undefined) return [`${word}-*`, access];
    return [minor === undefined ? `${word}-${major}` : `/dev/${word}/${major}:${minor}`, access];
  });
  return { allowed: allowOthers ? undefined : allowed, exact: told.length === rules.length };
}
