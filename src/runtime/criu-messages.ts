/** The messages of CRIU's `swrk` service (criu(8); images/rpc.proto): protocol buffers of a few fields, written and read here. */
import { KeelsonError } from '../ground/errors.ts';

export const criuRequest = { dump: 1, restore: 2, preDump: 4, notify: 6, featureCheck: 9 } as const;
/** How CRIU treats control groups; '' leaves it to CRIU. */
export const criuCgroupModes: Readonly<Record<string, number>> = { '': 6, soft: 3, full: 4, strict: 5, ignore: 0 };

type Value = number | boolean | string | Uint8Array | undefined;
/** By field number; lists are repeated fields, absent ones are left out. */
export type Fields = readonly (readonly [number: number, value: Value | readonly Value[]])[];

export function encodeMessage(fields: Fields): Buffer {
  const parts: Uint8Array[] = [];
  for (const [number, values] of fields) {
    for (const value of Array.isArray(values) ? (values as readonly Value[]) : [values as Value]) {
      if (value === undefined) continue;
      if (typeof value === 'number' || typeof value === 'boolean') {
        parts.push(varint(number * 8), varint(Number(value)));
      } else {
        const bytes = typeof value === 'string' ? Buffer.from(value) : value;
        parts.push(varint(number * 8 + 2), varint(bytes.length), bytes);
      }
    }
  }
  return Buffer.concat(parts);
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return Uint8Array.from([...bytes, rest]);
}

/** The last value of each field: a number, or the bytes of a string or message. Throws `corrupt`. */
export function decodeMessage(bytes: Uint8Array): ReadonlyMap<number, number | Buffer> {
  const fields = new Map<number, number | Buffer>();
  let at = 0;
  const next = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 0x80) {
      const byte = bytes[at++];
      if (byte === undefined || scale > 2 ** 63) throw new KeelsonError('corrupt', 'the message from criu ends early');
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const tag = next();
    const kind = tag & 7;
    if (kind !== 0 && kind !== 2) throw new KeelsonError('corrupt', 'criu sent a message that could not be read');
    if (kind === 0) {
      fields.set(tag >> 3, next());
      continue;
    }
    const size = next();
    if (at + size > bytes.length) throw new KeelsonError('corrupt', 'the message from criu ends early');
    fields.set(tag >> 3, Buffer.from(bytes.subarray(at, at + size)));
    at += size;
  }
  return fields;
}

export interface CriuAnswer {
  readonly type: number;
  readonly success: boolean;
  readonly errno: number;
  /** What is being done, and with which process. */
  readonly notify?: { readonly script: string; readonly pid: number };
  readonly features: { readonly memoryTracking: boolean; readonly lazyPages: boolean };
}

export function decodeAnswer(bytes: Uint8Array): CriuAnswer {
  const fields = decodeMessage(bytes);
  const number = (map: ReadonlyMap<number, number | Buffer>, field: number): number => {
    const value = map.get(field);
    return typeof value === 'number' ? value : 0;
  };
  const message = (field: number) => {
    const value = fields.get(field);
    return typeof value === 'object' ? decodeMessage(value) : undefined;
  };
  const notify = message(5);
  const features = message(8) ?? new Map<number, number>();
  const script = notify?.get(1);
  return {
    type: number(fields, 1),
    success: number(fields, 2) !== 0,
    errno: number(fields, 7),
    ...(notify && { notify: { script: script === undefined ? '' : String(script), pid: number(notify, 2) } }),
    features: { memoryTracking: number(features, 1) !== 0, lazyPages: number(features, 2) !== 0 },
  };
}
