import { humanDuration } from '../../api/docker/time.ts';

/** `3 minutes ago`. */
export function ago(milliseconds: number, now: number = Date.now()): string {
  return `${humanDuration(now - milliseconds)} ago`;
}

function two(n: number): string {
  return String(n).padStart(2, '0');
}

function offsetText(minutes: number, colon: string): string {
  const sign = minutes < 0 ? '-' : '+';
  const size = Math.abs(minutes);
  return `${sign}${two(Math.trunc(size / 60))}${colon}${two(size % 60)}`;
}

/** The zone's short name, as far as JavaScript knows it, else its offset as Go writes it for zones without a name: `+03`. */
function zoneName(date: Date, offset: number): string {
  if (offset === 0 && (process.env['TZ'] ?? 'UTC') === 'UTC') return 'UTC';
  const part = new Intl.DateTimeFormat('en-US', { timeZoneName: 'short' })
    .formatToParts(date)
    .find(({ type }) => type === 'timeZoneName')?.value;
  if (part !== undefined && /^[A-Z]{2,5}$/.test(part)) return part;
  return offset === 0 ? 'UTC' : offsetText(offset, '').replace(/00$/, '');
}

/** A time in this machine's zone, as Go prints it: `2026-11-22 06:12:20 +0000 UTC`. */
export function localTime(milliseconds: number): string {
  const date = new Date(milliseconds);
  const offset = -date.getTimezoneOffset();
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return `${day} ${clock} ${offsetText(offset, '')} ${zoneName(date, offset)}`;
}

/** RFC 3339 in this machine's zone; `nanoseconds` are the digits behind the second. */
export function localRfc3339(milliseconds: number, nanoseconds?: number): string {
  const date = new Date(milliseconds);
  const offset = -date.getTimezoneOffset();
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  const fraction = nanoseconds === undefined ? '' : `.${String(nanoseconds).padStart(9, '0')}`;
  return `${day}T${clock}${fraction}${offset === 0 ? 'Z' : offsetText(offset, ':')}`;
}
