import { KeelsonError } from '../ground/errors.ts';
import type { ContainerDefaults, Healthcheck } from '../spec/image.ts';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/**
 * Applies what `commit --change` and `import --change` take: single Dockerfile instructions (docs.docker.com/reference/dockerfile) that only
 * touch the config.
 */
export function applyChanges(defaults: ContainerDefaults, changes: readonly string[]): ContainerDefaults {
  const config: Mutable<ContainerDefaults> = { ...defaults };
  for (const change of changes) {
    const [, word = '', rest = ''] = /^\s*(\S+)\s*([^]*?)\s*$/.exec(change) ?? [];
    const apply = instructions[word.toUpperCase()];
    if (apply === undefined) throw wrong(change, `${JSON.stringify(word)} is not a valid change command`);
    if (rest === '' && word.toUpperCase() !== 'CMD') throw wrong(change, 'needs an argument');
    if (rest.includes('\0')) throw wrong(change, 'contains a NUL byte');
    apply(config, rest, change);
  }
  return config;
}

type Instruction = (config: Mutable<ContainerDefaults>, rest: string, change: string) => void;

const instructions: Readonly<Record<string, Instruction | undefined>> = {
  CMD: (config, rest) => {
    config.Cmd = command(rest, config);
  },
  ENTRYPOINT: (config, rest) => {
    config.Entrypoint = command(rest, config);
  },
  ENV: (config, rest, change) => {
    const env = new Map((config.Env ?? []).map((each) => [each.split('=', 1)[0] ?? '', each]));
    for (const [key, value] of pairs(rest, change)) env.set(key, `${key}=${value}`);
    config.Env = [...env.values()];
  },
  LABEL: (config, rest, change) => {
    config.Labels = { ...config.Labels, ...Object.fromEntries(pairs(rest, change)) };
  },
  EXPOSE: (config, rest, change) => {
    const ports = { ...config.ExposedPorts };
    for (const word of words(rest, change)) for (const port of exposed(word, change)) ports[port] = {};
    config.ExposedPorts = ports;
  },
  VOLUME: (config, rest, change) => {
    const volumes = { ...config.Volumes };
    for (const path of jsonWords(rest) ?? words(rest, change)) {
      if (path.trim() === '') throw wrong(change, 'a volume needs a path');
      volumes[path] = {};
    }
    config.Volumes = volumes;
  },
  USER: (config, rest, change) => {
    config.User = only(rest, change);
  },
  WORKDIR: (config, rest, change) => {
    const path = words(rest, change).join(' ');
    config.WorkingDir = path.startsWith('/') ? path : `${config.WorkingDir ?? ''}/${path}`.replace(/^\/*/, '/');
  },
  STOPSIGNAL: (config, rest, change) => {
    config.StopSignal = only(rest, change);
  },
  ONBUILD: (config, rest, change) => {
    if (/^(ONBUILD|FROM|MAINTAINER)\b/i.test(rest)) throw wrong(change, 'ONBUILD does not take that instruction');
    config.OnBuild = [...(config.OnBuild ?? []), rest];
  },
  HEALTHCHECK: (config, rest, change) => {
    config.Healthcheck = healthcheck(rest, config, change);
  },
};

/** The exec form (a JSON array) as it is, the shell form behind a shell. */
function command(rest: string, config: ContainerDefaults): readonly string[] {
  return jsonWords(rest) ?? (rest === '' ? [] : [...(config.Shell ?? ['/bin/sh', '-c']), rest]);
}

function jsonWords(rest: string): string[] | undefined {
  if (!rest.startsWith('[')) return undefined;
  try {
    const value: unknown = JSON.parse(rest);
    return Array.isArray(value) && value.every((each) => typeof each === 'string') ? value : undefined;
  } catch {
    return undefined; // the shell form of a command may begin with a bracket: `[ -e /x ] && …`
  }
}

/** Words as the builder splits them: blanks separate, quotes and backslashes keep. */
function words(text: string, change: string): string[] {
  const found: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let i = 0; i < text.length; i++) {
    const c = text[i] as string;
    if (c === '\\' && quote !== "'" && i + 1 < text.length) word = (word ?? '') + (text[++i] as string);
    else if (quote !== '' && c === quote) quote = '';
    else if (quote === '' && (c === '"' || c === "'")) {
      quote = c;
      word ??= '';
    } else if (quote === '' && /\s/.test(c)) {
      if (word !== undefined) found.push(word);
      word = undefined;
    } else word = (word ?? '') + c;
  }
  if (quote !== '') throw wrong(change, `a ${quote} is not closed`);
  if (word !== undefined) found.push(word);
  return found;
}

/** `key=value …`, or the old `key value` whose value is the rest of the line. */
function pairs(rest: string, change: string): [string, string][] {
  const [first = ''] = rest.split(/\s/, 1);
  if (!first.includes('=')) {
    const [, key = '', value = ''] = /^(\S+)\s+([^]*)$/.exec(rest) ?? [];
    if (key === '') throw wrong(change, 'must have two arguments');
    return [[key, value]];
  }
  return words(rest, change).map((word) => {
    const at = word.indexOf('=');
    if (at < 1) throw wrong(change, `${JSON.stringify(word)} is not key=value`);
    return [word.slice(0, at), word.slice(at + 1)];
  });
}

function only(rest: string, change: string): string {
  const [word, more] = words(rest, change);
  if (word === undefined || more !== undefined) throw wrong(change, 'takes exactly one argument');
  return word;
}

function exposed(word: string, change: string): string[] {
  const [, first, last, protocol = 'tcp'] = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/i.exec(word) ?? [];
  const from = Number(first);
  const to = last === undefined ? from : Number(last);
  if (!(from >= 1 && to >= from && to <= 65_535)) throw wrong(change, `invalid port ${JSON.stringify(word)}`);
  return Array.from({ length: to - from + 1 }, (_, i) => `${from + i}/${protocol.toLowerCase()}`);
}

function healthcheck(rest: string, config: ContainerDefaults, change: string): Healthcheck {
  const result: Mutable<Healthcheck> = {};
  let left = rest;
  for (;;) {
    const option = /^--([a-z-]+)=(\S+)\s*/.exec(left);
    if (!option) break;
    const [whole, name = '', value = ''] = option;
    left = left.slice(whole.length);
    const property = durations[name];
    if (property !== undefined) result[property] = nanoseconds(value, change);
    else if (name === 'retries' && /^\d{1,6}$/.test(value)) result.Retries = Number(value);
    else throw wrong(change, `unknown option --${name}=${value}`);
  }
  if (/^NONE$/i.test(left)) return { Test: ['NONE'] };
  const [, text] = /^CMD\s+([^]+)$/i.exec(left) ?? [];
  if (text === undefined) throw wrong(change, 'HEALTHCHECK takes CMD or NONE');
  const exec = jsonWords(text);
  void config;
  return { ...result, Test: exec ? ['CMD', ...exec] : ['CMD-SHELL', text] };
}

const durations: Readonly<Record<string, 'Interval' | 'Timeout' | 'StartPeriod' | 'StartInterval' | undefined>> = {
  interval: 'Interval',
  timeout: 'Timeout',
  'start-period': 'StartPeriod',
  'start-interval': 'StartInterval',
};

/** Go's durations: `1m30s`, `500ms`. */
function nanoseconds(text: string, change: string): number {
  if (!/^(\d+(\.\d+)?(h|m|s|ms|us|ns))+$/.test(text)) throw wrong(change, `invalid duration ${JSON.stringify(text)}`);
  const units: Record<string, number> = { h: 3600e9, m: 60e9, s: 1e9, ms: 1e6, us: 1e3, ns: 1 };
  let sum = 0;
  for (const [, count, unit = ''] of text.matchAll(/(\d+(?:\.\d+)?)(ms|us|ns|h|m|s)/g))
    sum += Number(count) * (units[unit] ?? 0);
  return Math.round(sum);
}

function wrong(change: string, why: string): KeelsonError {
  return new KeelsonError('invalid-argument', `change ${JSON.stringify(change.slice(0, 200))}: ${why}`);
}
