const unitMs: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** A Go duration such as `1h30m` or `-1.5s` in milliseconds; undefined when it is none. */
export function parseDuration(text: string): number | undefined {
  if (text === '0') return 0;
  const match = /^([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h))+)$/.exec(text);
  if (match === null) return undefined;
  let total = 0;
  for (const [, amount = '0', unit = ''] of (match[2] as string).matchAll(
    /(\d+\.?\d*|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)/g,
  ))
    total += Number(amount) * (unitMs[unit] as number);
  return match[1] === '-' ? -total : total;
}

/**
 * Docker's `--since` and `--until`: a duration before `now`, an RFC 3339 time of which the end may be missing (local time without a
 * zone), or seconds since the epoch. In milliseconds. Throws in docker's words.
 */
export function parseTimestamp(text: string, now: number = Date.now()): number {
  const duration = parseDuration(text);
  if (duration !== undefined) return now - duration;
  if (/^\d+(\.\d{1,9})?$/.test(text)) return Number(text) * 1000;
  const match = /^(\d{4}-\d\d-\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d)(\.\d{1,9})?)?)?)?(Z|[+-]\d\d:\d\d)?$/.exec(text);
  if (match !== null) {
    const [, day = '', hour = '00', minute = '00', second = '00', fraction = '', zone = ''] = match;
    const whole = Date.parse(`${day}T${hour}:${minute}:${second}${zone}`);
    if (!Number.isNaN(whole)) return whole + Number(`0${fraction}`) * 1000;
  }
  throw new Error(`failed to parse value as time or duration: ${JSON.stringify(text)}`);
}
